import { generateKeyPairSync } from 'node:crypto';
import t, { type Test } from 'tap';
import { startGitHubApi } from '../../support/github-api.ts';
import type { PullRequests } from '../../support/github-pulls.ts';
import { openScene, token } from './fixture.ts';

type Given = Partial<Parameters<typeof startGitHubApi>[0]>;

async function openWithApi(t: Test, pulls: PullRequests, given: Given = {}) {
  const api = await startGitHubApi({ repository: 'me/app', token, pulls, ...given });
  t.teardown(() => api.close());
  const scene = await openScene(t, { gateway: () => ({ githubApiUrl: api.url }) });
  const post = (content: unknown, headers: Record<string, string> = {}) =>
    scene.send('/pull-requests', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof content === 'string' ? content : JSON.stringify(content),
    });
  return { ...scene, api, post };
}

const wanted = { repository: 'me/app', head: 'berth/fix', title: 'Fix it', body: 'Because.' };

t.test('one pull request is opened for a branch, and then updated', async (t) => {
  const pulls: PullRequests = { branches: ['berth/fix'], opened: [] };
  const scene = await openWithApi(t, pulls);
  const first = await scene.post(wanted);
  t.equal(first.status, 201, first.text);
  t.match(JSON.parse(first.text), {
    number: 1,
    created: true,
    base: { branch: 'main' },
    state: 'open',
  });
  const again = await scene.post({ ...wanted, title: 'Fix it well', base: 'next' });
  t.equal(again.status, 200, again.text);
  t.same(pulls.opened, [
    { title: 'Fix it well', body: 'Because.', head: 'berth/fix', base: 'next', state: 'open' },
  ]);
  const read = await scene.send('/me/app/pulls/1');
  t.match(JSON.parse(read.text), {
    title: 'Fix it well',
    body: 'Because.',
    head: { branch: 'berth/fix', commit: 'c'.repeat(40), repository: 'me/app' },
    base: { branch: 'next' },
  });
  t.match(
    scene.lines.find(({ event }) => event === 'gateway_pull_request'),
    { number: 1, created: true },
  );
  t.notMatch(JSON.stringify(scene.lines) + first.text + read.text, token);
});

t.test(
  'the gateway opens no pull request for a branch or repository that must not be pushed',
  async (t) => {
    const scene = await openWithApi(t, { branches: [], opened: [] });
    for (const [content, status, detail] of [
      [{ ...wanted, repository: 'other/secret' }, 403, /BERTH_GATEWAY_PUSH does not list it/],
      [{ ...wanted, repository: 'me/App' }, 403, /does not list it/],
      [{ ...wanted, repository: '../app' }, 400, /no owner\/name/],
      [{ ...wanted, head: 'main' }, 403, /must match berth\/\*/],
      [{ ...wanted, head: 'other:berth/fix' }, 400, /head: the name of a branch/],
      [{ ...wanted, repository: 'me/claude', head: 'berth/changes' }, 403, /berth itself/],
      [{ ...wanted, title: '' }, 400, /title/],
      [{ ...wanted, labels: [] }, 400, /labels/],
      ['{', 400, /not JSON/],
      [JSON.stringify({ ...wanted, body: 'x'.repeat(200_000) }), 400, /larger than/],
    ] as const) {
      const answer = await scene.post(content);
      t.equal(answer.status, status, JSON.stringify(content).slice(0, 100));
      t.match(JSON.parse(answer.text).detail, detail);
    }
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(Buffer.alloc(200_000, 'x')),
    });
    const headers = { 'content-type': 'application/json' };
    const chunked = { method: 'POST', headers, body, duplex: 'half' } as RequestInit;
    t.match(
      (await scene.send('/pull-requests', chunked)).text,
      /larger than/,
      'in chunks, unfinished',
    );
    t.equal((await scene.post(wanted, { 'content-type': 'text/plain' })).status, 400);
    t.equal((await scene.post(wanted, { origin: 'http://evil.example' })).status, 403);
    t.equal((await scene.send('/pull-requests')).status, 405);
    t.equal((await scene.send('/other/secret/pulls/1')).status, 403);
    t.equal(scene.api.requests.length, 0);
  },
);

t.test('an error of the GitHub API names the missing permission or another remedy', async (t) => {
  const pulls: PullRequests = { branches: [], access: 'read', opened: [] };
  const given: Given = {};
  const scene = await openWithApi(t, pulls, given);
  const detail = async () => JSON.parse((await scene.post(wanted)).text).detail;
  t.match(await detail(), /lacks the repository permission "Pull requests: write"/);
  pulls.access = 'none';
  t.match(JSON.parse((await scene.send('/me/app/pulls/1')).text).detail, /"Pull requests: read"/);
  pulls.access = 'write';
  t.match(await detail(), /head is invalid; push the branch first/);
  t.match(JSON.parse((await scene.send('/me/app/pulls/7')).text), {
    code: 'remote_refused',
    detail: /does not exist/,
  });
  await scene.api.close();
  t.match(await detail(), /does not answer; try again later/);
  t.notMatch(JSON.stringify(scene.lines), token);
});

t.test('a repository that was transferred is refused, not followed', async (t) => {
  const open = { title: 'T', body: '', head: 'berth/fix', base: 'main', state: 'open' } as const;
  const pulls: PullRequests = { branches: ['berth/fix'], opened: [{ ...open }] };
  const given = { repository: 'other/secret', formerly: 'me/app' };
  const scene = await openWithApi(t, pulls, given);
  for (const { status, text } of [await scene.send('/me/app/pulls/1'), await scene.post(wanted)]) {
    t.equal(status, 502, text);
    t.match(JSON.parse(text), { code: 'remote_refused', detail: /renamed or transferred \(301\)/ });
  }
  t.same(pulls.opened, [open]);
  t.notOk(scene.api.requests.some((line) => line.includes('/repositories/')));
});

t.test('a pull request on a server other than GitHub gets 501 and an alternative', async (t) => {
  const scene = await openScene(t);
  const answer = await scene.send('/me/app/pulls/1');
  t.equal(answer.status, 501);
  t.match(JSON.parse(answer.text), {
    code: 'not_supported',
    detail: /by the link that the server prints/,
  });
});

t.test(
  'a GitHub App gets a token for each repository and purpose, and uses it again',
  async (t) => {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const app = {
      id: '7',
      installationId: 9,
      privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    };
    const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string;
    const pulls: PullRequests = { branches: ['berth/fix'], opened: [] };
    const api = await startGitHubApi({
      ...{ repository: 'me/app', token, pulls },
      app: { id: '7', installationId: 9, publicKey: pem },
    });
    t.teardown(() => api.close());
    const login = () => ({ username: 'x-access-token', token: undefined, app });
    const scene = await openScene(t, { gateway: () => ({ githubApiUrl: api.url, login }) });
    const list = () => scene.git(scene.directory, 'ls-remote', scene.url('me/app'));
    t.match((await list()).text, scene.app.head());
    t.match((await list()).text, scene.app.head());
    const content = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(wanted),
    };
    t.equal((await scene.send('/pull-requests', content)).status, 201);
    t.same(
      api.tokensFor.map(({ permissions }) => permissions),
      [
        { contents: 'read', metadata: 'read' },
        { pull_requests: 'write', contents: 'read', metadata: 'read' },
      ],
    );
    t.ok(api.tokensFor.every(({ repositories }) => repositories?.join() === 'app'));
  },
);
