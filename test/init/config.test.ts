import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readInitConfig } from '../../init/config.ts';
import { redact } from '../../shared/redact.ts';
import { readReporting } from '../../shared/reporting.ts';
import { testDirectory } from '../support/directory.ts';

const read = (environment: Record<string, string>) =>
  readInitConfig({ BERTH_REPO: 'me/claude', ...environment });

t.test('the repository is all that must be given', async (t) => {
  const { config } = read({});
  t.match(config, {
    repository: { url: 'https://github.com/me/claude', path: 'me/claude' },
    ref: undefined,
    token: undefined,
    username: 'x-access-token',
    githubApiUrl: 'https://api.github.com',
    credentialsSource: '/secrets/credentials.json',
    configDirectory: '/claude-config',
    stateDirectory: '/claude-config/.berth',
    owner: { uid: 1000, gid: 1000 },
    timeout: 120_000,
    onRemoteFailure: 'continue',
  });
  t.throws(() => readInitConfig({}), { code: 'config_invalid', message: /BERTH_REPO is required/ });
});

t.test('every usual spelling of a repository means the same', async (t) => {
  for (const text of [
    'me/claude',
    'https://github.com/me/claude',
    'https://github.com/me/claude.git',
    'https://github.com/me/claude/',
  ]) {
    t.equal(read({ BERTH_REPO: text }).config.repository.url, 'https://github.com/me/claude', text);
  }
});

t.test('other servers have no GitHub API and another user name', async (t) => {
  const { config } = read({ BERTH_REPO: 'https://git.example.org/me/claude' });
  t.match(config, { username: 'oauth2', githubApiUrl: undefined });
  const enterprise = read({
    BERTH_REPO: 'https://ghe.example.org/me/claude',
    BERTH_GITHUB_API_URL: 'https://ghe.example.org/api/v3/',
  });
  t.match(enterprise.config, {
    username: 'x-access-token',
    githubApiUrl: 'https://ghe.example.org/api/v3',
  });
});

t.test('the user name for a git token depends on the git host', async (t) => {
  const username = (host: string, more: Record<string, string> = {}) =>
    read({ BERTH_REPO: `https://${host}/me/claude`, BERTH_GIT_TOKEN: 'x', ...more }).config
      .username;
  t.equal(username('github.com'), 'x-access-token');
  t.equal(username('gitlab.com'), 'oauth2');
  t.equal(username('codeberg.org'), 'oauth2', 'Forgejo looks at the token alone');
  t.equal(username('gitea.example.org'), 'oauth2', 'and so does Gitea');
  t.equal(username('bitbucket.org'), 'x-token-auth');
  t.equal(username('bitbucket.example.org'), 'x-token-auth');
  t.equal(username('notbitbucket.org'), 'oauth2');
  for (const host of ['github.com', 'gitlab.com', 'bitbucket.org']) {
    t.equal(username(host, { BERTH_GIT_USERNAME: 'me' }), 'me', 'what is given wins');
  }
  const inUrl = { BERTH_REPO: 'https://bob:x@github.com/me/claude', BERTH_GIT_TOKEN: '' };
  t.equal(read(inUrl).config.username, 'bob');
});

t.test('an ssh address is answered with its https form', async (t) => {
  for (const text of ['git@github.com:me/claude.git', 'ssh://git@github.com:22/me/claude.git']) {
    t.throws(() => read({ BERTH_REPO: text }), {
      message: /https:\/\/github\.com\/me\/claude, with a token in BERTH_GIT_TOKEN/,
    });
  }
});

t.test('a login in the URL is used, warned about and never shown', async (t) => {
  const { config, advice } = read({
    BERTH_REPO: 'https://bob:hunter22hunter@git.example.org/a/b',
  });
  t.match(config, { token: 'hunter22hunter', username: 'bob' });
  t.equal(config.repository.url, 'https://git.example.org/a/b');
  t.match(advice, [/BERTH_REPO holds a login, which is used/]);
  t.notMatch(redact('x hunter22hunter y'), /hunter/);
  const both = read({
    BERTH_REPO: 'https://oldtoken99@github.com/a/b',
    BERTH_GIT_TOKEN: 'thetoken123',
  });
  t.match(both.config, { token: 'thetoken123', username: 'x-access-token' });
  t.match(both.advice, [/ignored/]);
});

t.test('a token with / or @ in the URL is refused without being shown', async (t) => {
  try {
    read({ BERTH_REPO: 'https://bob:p/ss@wordsecret@github.com/a/b' });
    t.fail('it was accepted');
  } catch (error) {
    t.match(error, { code: 'config_invalid', message: /BERTH_GIT_TOKEN/ });
    t.notMatch(redact((error as Error).message), /wordsecret/);
  }
});

t.test('a BERTH_REPO that is not a repository is rejected', async (t) => {
  for (const text of [
    'claude',
    'ftp://x/y',
    'https://github.com',
    'https://h/a?b',
    '/a/b',
    'a/b/c',
  ]) {
    t.throws(() => read({ BERTH_REPO: text }), { code: 'config_invalid' }, text);
  }
});

t.test('the token has aliases, a file form, and is never shown', async (t) => {
  t.equal(read({ GITHUB_TOKEN: 'from-github-token' }).config.token, 'from-github-token');
  t.equal(read({ GITHUB_PAT: 'a-pat', GITHUB_TOKEN: 'other' }).config.token, 'a-pat');
  const file = join(testDirectory(t), 'token');
  writeFileSync(file, 'token-from-a-file\n');
  t.equal(read({ BERTH_GIT_TOKEN_FILE: file }).config.token, 'token-from-a-file');
  t.equal(redact('token-from-a-file'), '[redacted]');
});

t.test('a ref that git would not take is refused', async (t) => {
  for (const ref of ['-x', 'a b', 'a..b', 'a~1', 'a:b', 'a@{1}']) {
    t.throws(() => read({ BERTH_REF: ref }), { code: 'config_invalid' }, ref);
  }
  for (const ref of ['main', 'feature/x', 'v1.2.3', 'refs/heads/main', 'f'.repeat(40)]) {
    t.equal(read({ BERTH_REF: ref }).config.ref, ref);
  }
});

t.test('a state directory at a path that a repository may write is refused', async (t) => {
  const places = { BERTH_CONFIG_DIR: '/config', BERTH_REPO: 'me/claude' };
  for (const path of ['/config/state', '/config', '/config/a/.berth']) {
    t.throws(() => readInitConfig({ ...places, BERTH_STATE_DIR: path }), {
      code: 'config_invalid',
      message: /a name that begins with .berth/,
    });
  }
  for (const path of ['/config/.berth-2', '/state', '/config-state']) {
    const { config } = readInitConfig({ ...places, BERTH_STATE_DIR: path });
    t.equal(config.stateDirectory, path);
  }
});

t.test('an http URL with a token is warned about', async (t) => {
  const { advice } = read({ BERTH_REPO: 'http://git.internal/a/b', BERTH_GIT_TOKEN: 'x' });
  t.match(advice, [/unencrypted/]);
});

t.test('one error lists all wrong settings', async (t) => {
  t.throws(() => readInitConfig({ BERTH_UID: '-1', BERTH_TIMEOUT: 'soon', BERTH_REF: '-' }), {
    message: /4 settings are wrong.*BERTH_REPO.*BERTH_REF.*BERTH_UID.*BERTH_TIMEOUT/s,
  });
});

t.test('how to report is known even when a setting is wrong', async (t) => {
  t.strictSame(readReporting({ BERTH_LOG_LEVEL: 'loud', BERTH_LOG_PRETTY: 'true' }), {
    level: 'info',
    pretty: true,
    terminationLog: '/dev/termination-log',
  });
});
