import t, { type Test } from 'tap';
import { Agent } from 'undici';
import { preflight, resolveCommit } from '../../../init/github/github.ts';
import { type GitHubApiOptions, startGitHubApi } from '../../support/github-api.ts';
import { captureLog, openHarbour, token } from '../fixture.ts';

interface Asked {
  path?: string;
  /** null: none. */
  sent?: string | null;
  timeout?: number;
}

/** A stand-in API, and who asks it about the repository. */
async function meet(t: Test, options: Partial<GitHubApiOptions>, asked: Asked = {}) {
  const api = await startGitHubApi({ repository: 'me/claude', token, ...options });
  const dispatcher = new Agent();
  t.teardown(() => Promise.all([api.close(), dispatcher.destroy()]));
  const { path = 'me/claude', sent = token } = asked;
  const { signal } = new AbortController();
  return { api, github: { apiUrl: api.url, path, token: sent ?? undefined, dispatcher, signal } };
}

async function ask(t: Test, options: Partial<GitHubApiOptions>, asked: Asked = {}) {
  const { api, github } = await meet(t, options, asked);
  const { log, lines } = captureLog();
  const { timeout = 5_000 } = asked;
  const found = await preflight({ ...github, ref: undefined, log, timeout });
  return { found, lines, api };
}

t.test('a token that may read the repository has no problem', async (t) => {
  const { found, lines } = await ask(t, { defaultBranch: 'trunk' });
  t.strictSame(found, { answered: true, defaultBranch: 'trunk' });
  t.match(lines, [{ event: 'preflight' }]);
});

t.test('each refusal has a remedy of its own', async (t) => {
  const problem = async (options: Partial<GitHubApiOptions>, asked?: Asked) =>
    (await ask(t, options, asked)).found.problem;
  t.match(
    await problem({}, { sent: 'another-token' }),
    /does not accept the token.*create a new token/,
  );
  t.match(await problem({}, { sent: null }), /or is private.*put a token into BERTH_GIT_TOKEN/);
  t.match(await problem({ access: 'none' }), /does not exist, or the token has no access to it/);
  t.match(
    await problem({ singleSignOn: 'https://github.com/orgs/me/sso?x=1' }),
    /single sign-on; authorise the token for it at https:\/\/github.com\/orgs\/me\/sso\?x=1/,
  );
});

t.test(
  'an organisation that asks for single sign-on is named, with the page to go to',
  async (t) => {
    const page = /authorise the token for it under "Configure SSO" at http\S+\/settings\/tokens$/;
    const hidden = async (singleSignOn: Record<string, string>) =>
      (await ask(t, { access: 'none', singleSignOn })).found.problem;
    const mine = await hidden({ 21: 'others', 22: 'Me' });
    t.match(
      mine,
      /^me\/claude is not visible: the organisation Me requires authorisation for single sign-on/,
    );
    t.match(mine, page);
    t.match(
      await hidden({ 21: '' }),
      /the organisation number 21 requires authorisation for single sign-on/,
    );
    t.match(await hidden({ 21: 'others' }), /does not exist, or the token has no access/);
    const { found, lines } = await ask(t, { singleSignOn: { 22: 'me' } });
    t.strictSame(found.problem, undefined, 'what can be read is no problem');
    t.match(lines, [{ event: 'preflight_warning', msg: page }, { event: 'preflight' }]);
    t.match(
      (await ask(t, { singleSignOn: 'https://github.com/orgs/me/sso?x=1' })).found.problem,
      /^the organisation me requires single sign-on; .* at https:\/\/github.com\/orgs\/me\/sso/,
    );
  },
);

t.test('a missing permission is named as its page on GitHub names it', async (t) => {
  const problem = async (options: Partial<GitHubApiOptions>) =>
    (await ask(t, { access: 'metadata', ...options })).found.problem;
  t.match(await problem({}), /grant it the repository permission "Contents: read"$/);
  t.match(await problem({ permissions: 'contents=read' }), /permission "Contents: read"$/);
  t.match(
    await problem({ permissions: 'contents=read,pull_requests=read; administration=read' }),
    /permission "Contents: read" and "Pull requests: read" or "Administration: read"$/,
  );
});

t.test('the error for a classic token names the missing scope', async (t) => {
  const problem = async (options: Partial<GitHubApiOptions>) =>
    (await ask(t, options)).found.problem;
  t.match(
    await problem({ access: 'none', scopes: 'gist' }),
    /needs the scope "repo" and has "gist"/,
  );
  t.match(await problem({ access: 'none', scopes: '' }), /needs the scope "repo" and has none/);
  t.match(await problem({ access: 'metadata', scopes: 'public_repo' }), /has "public_repo"/);
  t.match(await problem({ access: 'none', scopes: 'gist, repo' }), /token has no access to it/);
});

t.test('a renamed repository is detected, and the new name is logged', async (t) => {
  const { found, lines } = await ask(t, { formerly: 'me/dotfiles' }, { path: 'me/dotfiles' });
  t.match(found, { renamedTo: 'me/claude' });
  t.match(lines, [{ event: 'preflight_warning', renamed_to: 'me/claude' }, { event: 'preflight' }]);
});

t.test("an Enterprise server's API lies below a path", async (t) => {
  const { found, api } = await ask(t, { base: '/api/v3' });
  t.match(found, { answered: true, defaultBranch: 'main' });
  t.match(api.requests[0], 'GET /api/v3/repos/me/claude');
});

t.test('the end of the token is read, be it accepted or not', async (t) => {
  const tokenExpires = '2026-12-31 23:59:59 UTC';
  const end = new Date('2026-12-31T23:59:59Z');
  t.strictSame((await ask(t, { tokenExpires })).found.tokenExpiresAt, end);
  t.strictSame((await ask(t, { tokenExpires, access: 'none' })).found.tokenExpiresAt, end);
  const other = await ask(t, { tokenExpires: 'soon' });
  t.strictSame(other.found.tokenExpiresAt, undefined, 'what is no date is none');
});

t.test(
  'a rate limit is logged with its end, not reported as a problem of the repository',
  async (t) => {
    const primary = await ask(t, { limit: { primary: Date.UTC(2030, 0, 1) / 1_000 } });
    t.strictSame(primary.found, { answered: false });
    t.match(primary.lines, [
      {
        level: 'warn',
        msg: /until 2030-01-01T00:00:00.000Z \(primary rate limit.*continuing without/,
      },
    ]);
    const secondary = await ask(t, { limit: { secondary: 60 } });
    t.strictSame(secondary.found, { answered: false });
    t.match(secondary.lines, [{ level: 'warn', msg: /until \S+Z \(secondary rate limit/ }]);
  },
);

t.test('an API that hangs or fails is no problem of the repository', async (t) => {
  const hanging = await ask(t, { hang: true }, { timeout: 50 });
  t.strictSame(hanging.found, { answered: false });
  t.match(hanging.lines, [{ event: 'preflight_warning' }]);
});

t.test('an abbreviated commit id is completed', async (t) => {
  const commits = [`abcdef1${'0'.repeat(33)}`, `abcdef2${'0'.repeat(33)}`];
  const { github } = await meet(t, { commits });
  t.equal(await resolveCommit(github, 'abcdef1'), commits[0]);
  t.equal(await resolveCommit(github, 'abcdef'), undefined, 'two commits begin so');
  t.equal(await resolveCommit(github, '1234567'), undefined, 'none begins so');
});

t.test('if a short commit id cannot be completed, the error names the cause', async (t) => {
  const wrong = await meet(t, {}, { sent: 'another-token' });
  await t.rejects(resolveCommit(wrong.github, 'abcdef1'), {
    code: 'remote_refused',
    message: /cannot find the commit abcdef1: GitHub does not accept the token/,
  });
  const limited = await meet(t, { limit: { secondary: 60 } });
  await t.rejects(resolveCommit(limited.github, 'abcdef1'), {
    code: 'remote_unavailable',
    message: /secondary rate limit.*set BERTH_REF to all its 40 digits/,
  });
});

t.test('if git is refused, the error names the cause that the API reports', async (t) => {
  const harbour = await openHarbour(t);
  const api = await startGitHubApi({ repository: 'me/claude', token });
  t.teardown(() => api.close());
  const run = harbour.run({ BERTH_GITHUB_API_URL: api.url, BERTH_GIT_TOKEN: 'expired-token' });
  await t.rejects(run, { code: 'remote_refused', message: /GitHub does not accept the token/ });
});

t.test('a renamed repository is fetched by its new name', async (t) => {
  const harbour = await openHarbour(t);
  const api = await startGitHubApi({ repository: 'me/claude', formerly: 'me/former', token });
  t.teardown(() => api.close());
  const former = {
    BERTH_REPO: harbour.url.replace('me/claude', 'me/former'),
    BERTH_GITHUB_API_URL: api.url,
  };
  const report = await harbour.run(former);
  t.match(report, { written: 2, remote: 'current' });
  t.match(harbour.events('preflight_warning'), [{ renamed_to: 'me/claude' }]);
  harbour.repository.commit({ 'CLAUDE.md': 'two' });
  t.match(await harbour.run(former), { volume: 'complete', written: 1, remote: 'current' });
});

t.test('a short commit id is allowed if GitHub can complete the id', async (t) => {
  const harbour = await openHarbour(t);
  const commit = harbour.repository.head();
  harbour.repository.commit({ 'CLAUDE.md': 'two' });
  const api = await startGitHubApi({ repository: 'me/claude', token, commits: [commit] });
  t.teardown(() => api.close());
  const BERTH_REF = commit.slice(0, 8);
  const onGitHub = { BERTH_REF, BERTH_GITHUB_API_URL: api.url };
  t.match(await harbour.run(onGitHub), { commit, ref: BERTH_REF, written: 2 });
  t.equal(harbour.read('CLAUDE.md'), '# one\n');
  t.match(await harbour.run(onGitHub), { commit, volume: 'complete', written: 0 });
  await t.rejects(harbour.run({ ...onGitHub, BERTH_REF: '0123abc' }), {
    exitCode: 77,
    message: /no branch or tag "0123abc"; .*\(a commit needs all its 40 digits\)/,
  });
  const elsewhere = { BERTH_REF, BERTH_ON_REMOTE_FAILURE: 'fail' };
  await t.rejects(harbour.run(elsewhere), { exitCode: 77, message: /needs all its 40 digits/ });
});

t.test('the token goes with the user name that is wanted', async (t) => {
  const harbour = await openHarbour(t);
  const api = await startGitHubApi({ repository: 'me/claude', token });
  t.teardown(() => api.close());
  const sent = async (overrides: Record<string, string>) => {
    await harbour.run(overrides);
    const header = harbour.server.requests.at(-1)?.headers.authorization ?? '';
    return Buffer.from(header.replace('Basic ', ''), 'base64').toString();
  };
  t.equal(await sent({ BERTH_GITHUB_API_URL: api.url }), `x-access-token:${token}`);
  t.equal(await sent({}), `oauth2:${token}`);
  t.equal(await sent({ BERTH_GIT_USERNAME: 'someone' }), `someone:${token}`);
});
