import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Client } from 'undici';
import { openScene, token } from './fixture.ts';

t.test('git clones, fetches and pushes without a token', async (t) => {
  const scene = await openScene(t);
  const { app, server, lines } = scene;
  const clone = await scene.clone('clone');
  t.equal(readFileSync(join(clone, 'README.md'), 'utf8'), '# one\n');
  t.notMatch(readFileSync(join(clone, '.git/config'), 'utf8'), token);
  t.ok(server.requests.some(({ headers }) => headers['git-protocol'] === 'version=2'));
  const push = (...args: string[]) => scene.git(clone, 'push', 'origin', ...args);
  await scene.commit(clone, 'first');
  t.equal((await push('HEAD:berth/fix')).code, 0, 'a new branch');
  await scene.commit(clone, 'second');
  t.equal((await push('HEAD:berth/fix')).code, 0, 'an update');
  t.equal(app.head('berth/fix'), (await scene.git(clone, 'rev-parse', 'HEAD')).text.trim());

  const before = app.head('berth/fix');
  t.match((await push('HEAD:main')).text, /remote rejected.*must match berth\/\*/);
  t.match((await push(':berth/fix')).text, /no branch may be deleted/);
  await scene.git(clone, 'commit', '--quiet', '--amend', '--allow-empty', '-m', 'another');
  t.match((await push('--force', 'HEAD:berth/fix')).text, /would remove commits/);
  t.equal(app.head('berth/fix'), before);
  const secret = await scene.git(clone, 'ls-remote', scene.url('other/secret'));
  t.match(secret.text, /remote: cannot read .*BERTH_GATEWAY_REPOS does not list it/);

  const repository = `${server.url}/me/app`;
  const events = (name: string) => lines.filter(({ event }) => event === name);
  t.match(events('gateway_fetched')[0], { repository, agent: /^git\// });
  t.match(events('gateway_pushed')[1], { repository, refs: ['refs/heads/berth/fix'] });
  t.equal(events('gateway_refused').length, 4);
  t.notMatch(JSON.stringify(lines), token);
  const metrics = await scene.registry.metrics();
  t.match(metrics, /berth_gateway_requests_total\{operation="push",outcome="served"\} 2/);
  t.match(metrics, /berth_gateway_requests_total\{operation="push",outcome="refused"\} 3/);
});

t.test('tricks with paths, hosts and web pages reach no server', async (t) => {
  const scene = await openScene(t);
  const rest = 'info/refs?service=git-upload-pack';
  const { hostname, port } = new URL(scene.gateway.url);
  const status = async (path: string, headers: Record<string, string> = {}) => {
    const options = { path, method: 'GET', headers } as const;
    const client = new Client(`http://${hostname}:${port}`);
    try {
      const answer = await client.request(options);
      await answer.body.dump();
      return answer.statusCode;
    } finally {
      await client.close();
    }
  };
  for (const path of [
    `/me/app/../../other/secret/${rest}`,
    `/me/%2e%2e/other/secret/${rest}`,
    `/me//app/${rest}`,
    `/me/app%00/${rest}`,
    `/me/app/./${rest}`,
    `/me/app%2finfo/${rest}`,
    `/me/app@evil.example/${rest}`,
    `/-x/app/${rest}`,
    `/me/app\\..\\x/${rest}`,
  ]) {
    t.match(String(await status(path)), /^40[034]$/, path);
  }
  t.equal(await status(`/evil.example/me/app/${rest}`), 403, 'a host outside the list is an owner');
  t.equal(await status(`/me/app/${rest}`, { host: 'evil.example' }), 403);
  t.equal(await status(`/me/app/${rest}`, { host: '127.0.0.1.evil.example' }), 403);
  t.equal(await status(`/me/app/${rest}`, { origin: 'http://127.0.0.1:9418' }), 403);
  t.equal(await status(`/me/app/${rest}`, { 'sec-fetch-site': 'cross-site' }), 403);
  t.equal(await status('/me/app/info/refs'), 403, 'dumb HTTP');
  t.equal(await status('/me/app/HEAD'), 404, 'dumb HTTP');
  t.equal(await status('/me/app/objects/info/packs'), 404, 'dumb HTTP');
  t.equal(scene.server.requests.length, 0);
  t.equal(await status(`/me/app/${rest}`), 200);
  const lfs = await scene.send('/me/app.git/info/lfs/objects/batch', { method: 'POST' });
  t.equal(lfs.status, 501);
  t.match(JSON.parse(lfs.text), { message: /does not serve Git LFS; clone without/ });
});

t.test('a fetch above the byte limit ends, and the log names the limit', async (t) => {
  const scene = await openScene(t, { environment: { BERTH_GATEWAY_MAX_FETCH_BYTES: '1Ki' } });
  scene.app.commit({
    'noise.bin': randomBytes(20_000),
  });
  t.not((await scene.git(scene.directory, 'clone', '--quiet', scene.url('me/app'), 'x')).code, 0);
  const failed = scene.lines.find(({ event }) => event === 'gateway_failed');
  t.match(failed?.msg, /more than 1Ki at once: the limit of BERTH_GATEWAY_MAX_FETCH_BYTES/);
});

t.test('a token without the right to push is named on the screen of git', async (t) => {
  const scene = await openScene(t);
  const clone = await scene.clone('clone');
  await scene.commit(clone, 'first');
  scene.server.fault({ kind: 'status', status: 403 });
  const { text } = await scene.git(clone, 'push', 'origin', 'HEAD:berth/fix');
  t.match(text, /remote: .*grant it "Contents: write"/);
});

t.test('a repository outside the allow-list is refused, and git prints the remedy', async (t) => {
  const scene = await openScene(t);
  const clone = (path: string) => scene.git(scene.directory, 'clone', scene.url(path), 'x');
  for (const path of ['me/App', 'ME/app']) {
    const { code, text } = await clone(path);
    t.not(code, 0, path);
    t.match(text, /remote: cannot read .*BERTH_GATEWAY_REPOS does not list it/, path);
  }
  t.equal(scene.server.requests.length, 0, 'the server was not asked');
  t.equal(scene.lines.filter(({ event }) => event === 'gateway_refused').length, 2);
});

t.test('junk instead of a push is refused as the mistake of its sender', async (t) => {
  const scene = await openScene(t);
  const push = (body: string, path = '/me/app/git-receive-pack') =>
    scene.send(path, { method: 'POST', body });
  for (const body of ['zzzz', '0100abc', '', '0000PACK'])
    t.match(String((await push(body)).status), /^(400|200)$/, JSON.stringify(body));
  const text = await scene.registry.metrics();
  t.match(text, /berth_gateway_requests_total\{operation="push",outcome="refused"\} 4/);
  t.match(text, /berth_gateway_requests_total\{operation="push",outcome="failed"\} 0/);
  t.equal(scene.lines.filter(({ event }) => event === 'gateway_failed').length, 0);
  t.equal(scene.lines.filter(({ event }) => event === 'gateway_refused').length, 4);
});

t.test('a loop of refused requests does not fill the log', async (t) => {
  const scene = await openScene(t);
  for (let count = 0; count < 60; count++) {
    const { status } = await scene.send(`/other/app${count}/info/refs?service=git-upload-pack`);
    t.equal(status, 403);
  }
  t.equal(scene.lines.filter(({ event }) => event === 'gateway_refused').length, 20);
});
