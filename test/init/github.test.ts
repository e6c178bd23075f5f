import t, { type Test } from 'tap';
import { Agent } from 'undici';
import { preflight } from '../../init/github.ts';
import { type GitHubApiOptions, startGitHubApi } from '../support/github-api.ts';
import { captureLog, openHarbour, token } from './fixture.ts';

async function ask(
  t: Test,
  options: Partial<GitHubApiOptions>,
  { path = 'me/claude', sent = token as string | undefined, timeout = 5_000 } = {},
) {
  const api = await startGitHubApi({ repository: 'me/claude', token, ...options });
  const dispatcher = new Agent();
  t.teardown(() => Promise.all([api.close(), dispatcher.destroy()]));
  const { log, lines } = captureLog();
  const signal = new AbortController().signal;
  const common = { ref: undefined, token: sent, dispatcher, signal, log, timeout };
  const found = await preflight({ apiUrl: api.url, path, ...common });
  return { found, lines, api };
}

t.test('a token that may read the repository has no problem', async (t) => {
  const { found, lines } = await ask(t, { defaultBranch: 'trunk' });
  t.strictSame(found, { defaultBranch: 'trunk' });
  t.match(lines, [{ event: 'preflight' }]);
});

t.test('each refusal has a remedy of its own', async (t) => {
  const problem = async (options: Partial<GitHubApiOptions>, sent?: string) =>
    (await ask(t, options, sent === undefined ? {} : { sent })).found.problem;
  t.match(await problem({}, 'another-token'), /does not accept the token.*make a new one/);
  t.match(
    await problem({ access: 'metadata' }),
    /give it the repository permission "Contents: read"/,
  );
  t.match(await problem({ access: 'none' }), /does not exist, or the token has no access to it/);
  t.match(
    await problem({ access: 'none', scopes: 'gist' }),
    /needs the scope "repo" and has "gist"/,
  );
  t.match(
    await problem({ singleSignOn: 'https://github.com/orgs/me/sso?x=1' }),
    /single sign-on; authorise the token for it at https:\/\/github.com\/orgs\/me\/sso\?x=1/,
  );
  const { found } = await ask(t, {}, { sent: undefined as unknown as string });
  t.strictSame(found.problem, undefined, 'the default is the right token');
});

t.test('without a token a private repository is explained', async (t) => {
  const api = await startGitHubApi({ repository: 'me/claude', token });
  const dispatcher = new Agent();
  t.teardown(() => Promise.all([api.close(), dispatcher.destroy()]));
  const { log } = captureLog();
  const signal = new AbortController().signal;
  const found = await preflight({
    apiUrl: api.url,
    path: 'me/claude',
    ref: undefined,
    token: undefined,
    dispatcher,
    signal,
    log,
  });
  t.match(found.problem, /or is private.*put a token into BERTH_GIT_TOKEN/);
});

t.test('a new name is found and told', async (t) => {
  const { found, lines } = await ask(t, { formerly: 'me/dotfiles' }, { path: 'me/dotfiles' });
  t.match(found, { renamedTo: 'me/claude' });
  t.match(lines, [{ event: 'preflight_warning', renamed_to: 'me/claude' }, { event: 'preflight' }]);
});

t.test('a rate limit and an API that hangs are no problem of the repository', async (t) => {
  const limited = await ask(t, { rateLimited: true });
  t.strictSame(limited.found, {});
  t.match(limited.lines, [{ event: 'preflight_warning', level: 'warn' }]);
  const hanging = await ask(t, { hang: true }, { timeout: 50 });
  t.strictSame(hanging.found, {});
  t.match(hanging.lines, [{ event: 'preflight_warning' }]);
});

t.test('where git works, what the API says against it is only a warning', async (t) => {
  const harbour = await openHarbour(t);
  const api = await startGitHubApi({ repository: 'me/claude', token, access: 'metadata' });
  t.teardown(() => api.close());
  const report = await harbour.run({
    BERTH_GITHUB_API_URL: api.url,
    BERTH_GIT_USERNAME: 'x-access-token',
  });
  t.match(report, { written: 2, remote: 'current' });
  t.match(harbour.events('preflight_warning'), [{ msg: /Contents: read/ }]);
});

t.test('where git is refused, the API says why', async (t) => {
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
  const report = await harbour.run({
    BERTH_REPO: harbour.url.replace('me/claude', 'me/former'),
    BERTH_GITHUB_API_URL: api.url,
  });
  t.match(report, { written: 2, remote: 'current' });
  t.match(harbour.events('preflight_warning'), [{ renamed_to: 'me/claude' }]);
});
