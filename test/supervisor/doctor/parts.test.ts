import { copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { judgeCredentials, loginId } from '../../../shared/credentials.ts';
import { digestOf } from '../../../shared/digest.ts';
import { idOf, installedPlace } from '../../../shared/installed-cli.ts';
import { readSupervisorConfig } from '../../../supervisor/config.ts';
import { checkClaudeSettings } from '../../../supervisor/doctor/claude-settings.ts';
import { checkCli } from '../../../supervisor/doctor/cli.ts';
import { checkCommands, firstWord } from '../../../supervisor/doctor/commands.ts';
import { checkCredentials } from '../../../supervisor/doctor/credentials.ts';
import { checkGithub } from '../../../supervisor/doctor/github.ts';
import { checkVolume } from '../../../supervisor/doctor/volume.ts';
import { checkWriteBack } from '../../../supervisor/doctor/write-back.ts';
import { testDirectory } from '../../support/directory.ts';
import { startKubernetesApi } from '../../support/kubernetes-api.ts';
import { startLoginServer } from '../../support/login-server.ts';

const never = new AbortController().signal;
const day = 24 * 3_600_000;

t.test('the first program of a hook command is found without a shell', (t) => {
  const lines: [line: string, word: string | undefined][] = [
    ['jq -r .a', 'jq'],
    ['A=1 B="x y" /usr/bin/env node x', '/usr/bin/env'],
    ['"/opt/my hooks/a.sh" --b', '/opt/my hooks/a.sh'],
    ["'/opt/a b'", '/opt/a b'],
    ['if jq -e .x; then exit 2; fi', 'jq'],
    ['( cd /x && make )', 'cd'],
    ['$HOME/.claude/hooks/a.sh', '$HOME/.claude/hooks/a.sh'],
    ['cat|jq', 'cat'],
    ['', undefined],
    ['`which x` y', undefined],
  ];
  for (const [line, word] of lines) t.equal(firstWord(line), word, line);
  t.end();
});

t.test('commands of settings, servers and profiles are looked for as the CLI would', async (t) => {
  const hooks = ['[ -f x ]', '$CLAUDE_CONFIG_DIR/hooks/own.sh', '~/none.sh', '$OTHER/x', 'sh -c x'];
  const group = { hooks: hooks.map((command) => ({ type: 'command', command })) };
  const directory = testDirectory(t, {
    config: { 'settings.json': JSON.stringify({ hooks: { Stop: [group] } }), hooks: {} },
    'profiles.yaml':
      'profiles:\n  reviewer:\n    mcp:\n      servers:\n        files: {command: no-such-server}\n',
  });
  copyFileSync('/bin/true', join(directory, 'config/hooks/own.sh'));
  const { config } = readSupervisorConfig({
    PATH: process.env.PATH,
    HOME: directory,
    BERTH_CONFIG_DIR: join(directory, 'config'),
    BERTH_PROFILES_FILE: join(directory, 'profiles.yaml'),
  });
  const found = await checkCommands(config, never);
  t.match(found, [
    { status: 'ok', detail: '[ is built into the shell' },
    { status: 'ok', detail: /hooks\/own\.sh is there/ },
    { status: 'failed', detail: /none\.sh does not exist/ },
    { status: 'warning', detail: /depends on a variable/ },
    { status: 'ok', detail: 'sh is there' },
    { status: 'failed', subject: 'profile reviewer: MCP server files', detail: /no-such-server/ },
  ]);
  t.equal(found.length, 6);
});

t.test('an ending, used-up or year-old login is reported in time', async (t) => {
  const directory = testDirectory(t, { config: { '.berth': {} } });
  const config = join(directory, 'config');
  const server = await startLoginServer();
  t.teardown(() => server.close());
  const look = async (environment: Record<string, string> = {}) => {
    const read = readSupervisorConfig({ BERTH_CONFIG_DIR: config, ...environment });
    const [first] = await checkCredentials(read.config);
    return first;
  };
  const put = (text: string) => writeFileSync(join(config, '.credentials.json'), text);
  put(server.login());
  t.match(await look(), { status: 'ok', detail: /a person must log in again by/ });
  put(server.login({ deadline: 5 * day }));
  t.match(await look(), { status: 'warning', remedy: /setup-token.*berth login/ });
  put(server.login({ deadline: -1 }));
  t.match(await look(), { status: 'failed' });
  const old = server.login();
  put(old);
  const judged = judgeCredentials(old);
  const id = judged.kind === 'valid' ? loginId(judged.credentials) : '';
  const token = 'sk-ant-oat01-a-setup-token-of-the-tests';
  const since = { [digestOf(token).slice(0, 12)]: Date.now() - 340 * day };
  const history = { version: 1, superseded: [id], since };
  writeFileSync(join(config, '.berth/login-history.json'), JSON.stringify(history));
  t.match(await look(), { status: 'failed', detail: /used up: the file is an old copy/ });
  t.match(await look({ CLAUDE_CODE_OAUTH_TOKEN: token }), {
    status: 'warning',
    detail: /an estimate/,
  });
  t.match(await look({ ANTHROPIC_API_KEY: 'sk-ant-x' }), { status: 'ok' });
});

t.test(
  'the live Secret is checked if a token exists, and its content is never shown',
  async (t) => {
    const directory = testDirectory(t, {});
    const api = await startKubernetesApi();
    t.teardown(() => api.close());
    const { hostname, port } = new URL(api.url);
    const environment = {
      BERTH_WRITE_BACK_SECRET: 'berth-live',
      KUBERNETES_SERVICE_HOST: hostname,
      KUBERNETES_SERVICE_PORT: port,
      // Not for the API server, which is in the cluster.
      HTTPS_PROXY: 'http://127.0.0.1:9',
    };
    const look = async (more = {}) =>
      (await checkWriteBack({ ...environment, ...more }, never, { directory }))[0];
    t.match(await look({ BERTH_WRITE_BACK_SECRET: undefined }), { status: 'n/a' });
    t.match(await look(), { status: 'n/a', detail: /no Kubernetes token, as it should be/ });
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'token'), `${api.token}\n`);
    writeFileSync(join(directory, 'namespace'), 'home');
    copyFileSync(api.ca, join(directory, 'ca.crt'));
    t.match(await look(), { status: 'failed', detail: /answers 403/, remedy: /get and patch/ });
    api.allow('home/berth-live', ['get']);
    t.match(await look(), { status: 'failed', detail: /answers 404/, remedy: /create it/ });
    api.secrets.put('home', 'berth-live', { 'credentials.json': 'never shown' });
    t.match(await look(), { status: 'ok', subject: 'home/berth-live' });
    api.renewToken('another');
    t.match(await look(), { status: 'failed', detail: /answers 401/ });
  },
);

t.test('a GitHub token does not belong here', async (t) => {
  t.match(await checkGithub({}, never), [{ status: 'n/a' }]);
  const environment = { GH_TOKEN: 'ghp_of_the_tests', HTTPS_PROXY: 'http://127.0.0.1:9' };
  t.match(await checkGithub(environment, never), [
    { status: 'warning', detail: /can read it/, remedy: /init container only/ },
    { status: 'warning', detail: /does not answer/ },
  ]);
});

t.test(
  'if init continued without the git server or with old settings, the reason is reported',
  async (t) => {
    const directory = testDirectory(t, { '.berth': {} });
    const state = join(directory, '.berth');
    const look = async (remoteError: unknown, more = {}) => {
      const report = {
        ...{ version: 1, repository: 'https://github.com/you/dot-claude', commit: 'a'.repeat(40) },
        ...{ remote: 'failed', remote_error: remoteError, confirmed_at: new Date().toISOString() },
        ...more,
      };
      writeFileSync(join(state, 'report.json'), JSON.stringify(report));
      const found = await checkVolume(directory, state);
      return found.find(({ subject }) => subject === 'configuration');
    };
    t.match(await look({ code: 'remote_refused', message: 'the token has ended' }), {
      status: 'warning',
      detail: /^the git server refused init, which continued with .*dot-claude at aaaaaaa/,
      remedy: /log of the init container .*git token/,
    });
    for (const other of [
      { code: 'remote_unavailable', message: 'nothing listens' },
      undefined,
      7,
    ]) {
      t.match(await look(other), {
        status: 'warning',
        detail: /^init could not reach the git server and continued/,
        remedy: /log of the init container/,
      });
    }
    t.match(await look(undefined, { remote: 'current', settings: 'kept' }), {
      status: 'warning',
      detail: /with an earlier settings\.json/,
      remedy: /settings_invalid/,
    });
  },
);

t.test('without a CLI on the PATH, the CLI that init installed is checked', async (t) => {
  const directory = testDirectory(t, { config: { '.berth': {} }, bin: {} });
  const stateDirectory = join(directory, 'config/.berth');
  const integrity = `sha512-${Buffer.alloc(64).toString('base64')}`;
  const [current, previous] = [idOf(integrity), '1'.repeat(32)];
  const look = async (more: Record<string, string> = {}) => {
    const { config } = readSupervisorConfig({
      PATH: `${join(directory, 'bin')}:/usr/bin:/bin`,
      BERTH_CONFIG_DIR: join(directory, 'config'),
      BERTH_CLAUDE_INTEGRITY: integrity,
      ...more,
    });
    return checkCli(config, never);
  };
  const put = (path: string, version: string) =>
    writeFileSync(path, `#!/bin/sh\necho '${version} (Claude Code)'\n`, { mode: 0o755 });
  const install = (id: string, version: string): string => {
    const { directory: place, binary } = installedPlace(stateDirectory, id);
    mkdirSync(place, { recursive: true });
    put(binary, version);
    return binary;
  };
  const record = (content: object) =>
    writeFileSync(join(stateDirectory, 'cli.json'), JSON.stringify({ version: 1, ...content }));
  t.match(await look(), [{ status: 'failed', subject: 'claude', remedy: /BERTH_CLAUDE_TARBALL/ }]);
  record({ current, previous });
  const binary = install(current, '2.1.330');
  t.strictSame(await look(), [{ status: 'ok', subject: binary, detail: 'version 2.1.330' }]);
  put(binary, '2.1.100');
  t.match(await look(), [{ status: 'failed', subject: binary, detail: /2\.1\.100/ }]);
  install(previous, '2.1.320');
  t.match(await look(), [
    { status: 'warning', detail: /its predecessor is used/, remedy: /BERTH_CLAUDE_TARBALL/ },
    { status: 'ok', detail: 'version 2.1.320' },
  ]);
  rmSync(binary);
  t.match(await look(), [
    { status: 'warning', detail: /does not exist any more/ },
    { status: 'ok' },
  ]);
  record({ current: previous });
  t.match(await look(), [
    { status: 'ok', detail: 'version 2.1.320' },
    { status: 'warning', subject: 'BERTH_CLAUDE_INTEGRITY', remedy: /cli_not_installed/ },
  ]);
  t.match(await look({ BERTH_CLAUDE_PATH: '/nowhere/claude' }), [
    { status: 'failed', subject: '/nowhere/claude' },
  ]);
  put(join(directory, 'bin/claude'), '2.1.100');
  t.match(await look(), [{ status: 'failed', subject: 'claude', detail: /2\.1\.100/ }]);
});

t.test(
  'each part of settings.json that the CLI ignores is reported with its place and remedy',
  async (t) => {
    const directory = testDirectory(t, {});
    const file = join(directory, 'settings.json');
    const look = (content: string) => {
      writeFileSync(file, content);
      return checkClaudeSettings(directory);
    };
    const remedy = /in the \.claude repository, and restart the pod, unless init stays$/;
    t.match(await checkClaudeSettings(directory), [{ status: 'n/a', subject: file }]);
    t.match(await look('\ufeff{"model": "sonnet"}'), [{ status: 'ok', subject: file }]);
    t.match(await look('{"model": "sonnet",}'), [
      {
        status: 'failed',
        subject: file,
        detail: /not valid JSON \(line 1\).* all of the file$/,
        remedy,
      },
    ]);
    t.match(await look('{"model": 7}'), [{ status: 'failed', detail: /^model: .* all of the/ }]);
    const permissions = { deny: ['Read', 'bash'], allow: ['Read()'] };
    t.match(await look(JSON.stringify({ permissions })), [
      { status: 'failed', detail: /^permissions\.deny\.1: .*: the CLI ignores it, so/, remedy },
      { status: 'warning', detail: /^permissions\.allow\.0: .*: the CLI ignores it$/, remedy },
    ]);
    const many = await look(JSON.stringify({ permissions: { deny: Array(50).fill('bash') } }));
    t.match([many.length, many.at(-1)], [21, { status: 'warning', detail: 'and 30 more' }]);
    rmSync(file);
    symlinkSync('/dev/zero', file);
    t.match(await checkClaudeSettings(directory), [{ status: 'warning', detail: /is a symlink/ }]);
  },
);

t.test('a repository of which nothing takes effect is a warning with its remedy', async (t) => {
  const directory = testDirectory(t, { '.berth': {} });
  const state = join(directory, '.berth');
  const look = async (problem: unknown) => {
    const report = {
      ...{ version: 1, repository: 'https://github.com/you/dotfiles', commit: 'a'.repeat(40) },
      ...{ remote: 'current', problem, confirmed_at: new Date().toISOString() },
    };
    writeFileSync(join(state, 'report.json'), JSON.stringify(report));
    const found = await checkVolume(directory, state);
    return found.filter(({ subject }) => subject === 'configuration');
  };
  t.match(await look('nothing is read; set BERTH_REPO_PATH=.claude'), [
    { status: 'ok' },
    {
      status: 'warning',
      detail: 'nothing is read',
      remedy: 'set BERTH_REPO_PATH=.claude, and restart the pod',
    },
  ]);
  for (const none of [undefined, 7]) t.match(await look(none), [{ status: 'ok' }]);
});
