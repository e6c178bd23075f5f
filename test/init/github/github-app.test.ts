import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Agent } from 'undici';
import { readInitConfig } from '../../../init/config.ts';
import { installationToken } from '../../../init/github/github-app.ts';
import { redact } from '../../../shared/redact.ts';
import { type AppState, startGitHubApi } from '../../support/github-api.ts';
import { openHarbour, token, walk } from '../fixture.ts';

const makeKey = () =>
  generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  });
const { publicKey, privateKey } = makeKey();

const settings = {
  BERTH_REPO: 'me/claude',
  BERTH_GITHUB_APP_ID: '12',
  BERTH_GITHUB_APP_INSTALLATION_ID: '34',
  BERTH_GITHUB_APP_PRIVATE_KEY: privateKey,
};
const read = (overrides: Record<string, string> = {}) =>
  readInitConfig({ ...settings, ...overrides }).config;

async function ask(t: Test, overrides: Record<string, string> = {}, state?: AppState) {
  return (await meet(t, overrides, state)).token;
}

async function meet(
  t: Test,
  overrides: Record<string, string> = {},
  state?: AppState,
  { path = 'me/claude', formerly = 'me/former' } = {},
) {
  const app = { id: '12', installationId: 34, publicKey, ...(state ? { state } : {}) };
  const api = await startGitHubApi({ repository: 'me/claude', formerly, token, app });
  const dispatcher = new Agent();
  t.teardown(() => Promise.all([api.close(), dispatcher.destroy()]));
  const { githubApp } = read(overrides);
  if (!githubApp) throw new Error('no App was read');
  const { signal } = new AbortController();
  const asked = { app: githubApp, apiUrl: api.url, path, dispatcher, signal };
  return { api, token: await installationToken(asked) };
}

t.test('an App makes a token with its private key', async (t) => {
  t.equal(await ask(t), token);
  t.notMatch(redact(`x ${token}`), token, 'which is never shown');
});

t.test('the token is for reading the contents of the one repository', async (t) => {
  const { api } = await meet(t);
  t.strictSame(api.tokensFor, [
    { repositories: ['claude'], permissions: { contents: 'read', metadata: 'read' } },
  ]);
});

t.test('a repository that was renamed gets its token by the new name', async (t) => {
  const { api, token: made } = await meet(t, {}, undefined, { path: 'me/former' });
  t.equal(made, token);
  t.match(api.tokensFor, [
    { repositories: ['former'] },
    { permissions: { metadata: 'read' } },
    { repositories: ['claude'], permissions: { contents: 'read' } },
  ]);
  t.notOk(api.tokensFor[1]?.permissions?.contents, 'the name is asked without reading contents');
});

t.test('the error reports that the App installation does not cover the repository', async (t) => {
  await t.rejects(meet(t, {}, undefined, { path: 'me/other' }), {
    code: 'remote_refused',
    message: /installation 34 does not cover me\/other; .*add the repository to the App's/,
  });
});

t.test('the key may have its line ends written as \\n', async (t) => {
  const inOneLine = privateKey.replaceAll('\n', '\\n');
  t.equal(await ask(t, { BERTH_GITHUB_APP_PRIVATE_KEY: inOneLine }), token);
});

t.test('each refusal of an App has a remedy of its own', async (t) => {
  const other = { BERTH_GITHUB_APP_PRIVATE_KEY: makeKey().privateKey };
  const refused = async (message: RegExp, overrides: Record<string, string>, state?: AppState) =>
    t.rejects(ask(t, overrides, state), { code: 'remote_refused', message });
  await refused(/put a private key of this App into BERTH_GITHUB_APP_PRIVATE_KEY/, other);
  await refused(/there is no App 13; check BERTH_GITHUB_APP_ID/, { BERTH_GITHUB_APP_ID: '13' });
  await refused(/no installation 35/, { BERTH_GITHUB_APP_INSTALLATION_ID: '35' });
  await refused(/its installation is suspended/, {}, 'suspended');
  await refused(/"Contents: read"; grant it/, {}, 'unpermitted');
});

t.test('an API that cannot be reached may be reached later', async (t) => {
  const { githubApp: app } = read();
  if (!app) throw new Error('no App was read');
  const dispatcher = new Agent();
  t.teardown(() => dispatcher.destroy());
  const { signal } = new AbortController();
  const asked = installationToken({
    app,
    apiUrl: 'http://127.0.0.1:1',
    path: 'me/claude',
    dispatcher,
    signal,
  });
  await t.rejects(asked, { code: 'remote_unavailable', message: /try again later/ });
});

t.test('an App is named by three settings, and not beside a token', async (t) => {
  const { BERTH_GITHUB_APP_PRIVATE_KEY: _, ...without } = settings;
  t.throws(() => readInitConfig(without), {
    message:
      /BERTH_GITHUB_APP_ID and BERTH_GITHUB_APP_INSTALLATION_ID needs BERTH_GITHUB_APP_PRIVATE/,
  });
  t.throws(() => read({ GITHUB_TOKEN: 'a-token' }), { message: /BERTH_GIT_TOKEN.*both set/ });
  t.throws(() => read({ BERTH_REPO: 'https://bob:hunter22@github.com/me/claude' }), {
    message: /a login in BERTH_REPO are both set/,
  });
  t.throws(() => read({ BERTH_REPO: 'https://git.example.org/me/claude' }), {
    message: /is not on github.com; for Enterprise set BERTH_GITHUB_API_URL/,
  });
});

t.test('an invalid private key is rejected, and the error does not show the key', async (t) => {
  const text = 'MIIEowIBAAKCAQEA-not-a-key';
  try {
    read({ BERTH_GITHUB_APP_PRIVATE_KEY: text });
    t.fail('it was accepted');
  } catch (error) {
    t.match(error, { code: 'config_invalid', message: /BEGIN RSA PRIVATE KEY/ });
    t.notMatch((error as Error).message, text);
  }
  t.notMatch(redact(`x ${privateKey.split('\n')[3]} y`), /x [A-Za-z0-9]/, 'nor a line of it');
});

t.test('a run with an App leaves no secret on the volume or in the log', async (t) => {
  const harbour = await openHarbour(t);
  const app = { id: '12', installationId: 34, publicKey };
  const api = await startGitHubApi({ repository: 'me/claude', token, app });
  t.teardown(() => api.close());
  const { BERTH_REPO: _, ...login } = settings;
  const report = await harbour.run({
    ...login,
    BERTH_GIT_TOKEN: '',
    BERTH_GITHUB_API_URL: api.url,
  });
  t.match(report, { written: 2, remote: 'current' });
  const secrets = [token, ...privateKey.split('\n').slice(1, -2)];
  const texts = walk(harbour.volume).map((path) =>
    readFileSync(join(harbour.volume, path), 'latin1'),
  );
  for (const text of [...texts, JSON.stringify(harbour.lines)]) {
    t.notOk(secrets.some((secret) => text.includes(secret)));
  }
});
