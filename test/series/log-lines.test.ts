/**
 * Every line that the bundles write in full runs, at the level debug, against docs/logs.md's list: with
 * the real CLI, a real git server, failures of both, a CLI that prints a megabyte, a drain, and write-back.
 */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Test, test } from 'tap';
import {
  commonFields,
  eventsOfBoth,
  eventsOfInit,
  eventsOfSupervisor,
  eventsOfWriteBack,
  optionalFields,
  promptFields,
} from '../../shared/events.ts';
import { version } from '../../shared/version.ts';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { mountAccount } from '../supervisor/write-back/fixture.ts';
import { testDirectory } from '../support/directory.ts';
import { startGitServer } from '../support/git-server.ts';
import { startKubernetesApi } from '../support/kubernetes-api.ts';
import { type RecordedRequest, startMessagesApi } from '../support/messages-api.ts';
import { type Program, startProgram } from '../support/programs.ts';
import { sendPrompt } from '../support/prompt.ts';
import { createRepository } from '../support/repository.ts';
import { until } from '../support/until.ts';

const day = 86_400_000;
const claude = join(import.meta.dirname, '../../node_modules/.bin/claude');

type LogEvent = (typeof eventsOfBoth)['started'];
const lists: Record<string, Record<string, LogEvent>> = {
  'berth-init': { ...eventsOfBoth, ...eventsOfInit },
  berth: { ...eventsOfBoth, ...eventsOfSupervisor },
  'berth-write-back': {
    ...eventsOfBoth,
    ...eventsOfWriteBack,
    listening: eventsOfSupervisor.listening,
  },
};
/** The name of a file with what JSON escapes and what takes several bytes. */
const foreign = `${'"ü\\€😀'.repeat(16)}.md`;

const anywhere = [...Object.keys(commonFields), ...Object.keys(optionalFields)];

/** What is wrong with a line, in words; nothing if it is as documented. */
function problemsOf(text: string, service: string): string[] {
  let line: Record<string, unknown>;
  try {
    line = JSON.parse(text);
  } catch {
    return [`no JSON: ${text}`];
  }
  const event = lists[service]?.[String(line.event)];
  if (!event) return [`an event of no list: ${text}`];
  const known = [...anywhere, ...event.fields];
  if ('prompt_id' in line) known.push(...Object.keys(promptFields));
  const wrong = {
    level: !event.levels.includes(String(line.level)),
    time: new Date(String(line.time)).toISOString() !== line.time,
    service: line.service !== service,
    version: line.version !== version,
    msg: typeof line.msg !== 'string' || line.msg === '',
    length: Buffer.byteLength(text) > 12 * 1024,
  };
  return [
    ...Object.entries(wrong).flatMap(([what, is]) => (is ? [`wrong ${what}: ${text}`] : [])),
    ...Object.keys(line).flatMap((field) =>
      known.includes(field) ? [] : [`${line.event} has the field ${field}: ${text}`],
    ),
  ];
}

/** Holds all that a program has printed against the list; returns the events. */
function hold(t: Test, program: Program, service: string): Set<unknown> {
  const lines = program.output.split('\n').filter((text) => text !== '');
  t.ok(lines.length > 0);
  t.same(
    lines.flatMap((text) => problemsOf(text, service)),
    [],
  );
  return new Set(program.lines.map(({ event }) => event));
}

function assertSeen(t: Test, seen: Set<unknown>, wanted: readonly string[]): void {
  t.same(
    wanted.filter((event) => !seen.has(event)),
    [],
    'the runs had these too',
  );
}

function credentials(token: string): string {
  const soon = Date.now() + day;
  return JSON.stringify({
    claudeAiOauth: {
      accessToken: `sk-ant-oat01-${token}`,
      refreshToken: `sk-ant-ort01-${token}`,
      expiresAt: soon,
      refreshTokenExpiresAt: soon,
      scopes: ['user:inference'],
      subscriptionType: 'max',
    },
  });
}

test('every log line of init matches the documentation', async (t) => {
  const root = testDirectory(t, { git: {}, volume: {}, 'credentials.json': credentials('one') });
  const repository = createRepository(join(root, 'git'), 'me/claude', {
    'CLAUDE.md': '# one\n',
    'notes.md': 'one\n',
    [foreign]: 'one\n',
    'settings.json': '{}',
    'CON.md': 'a name that is no name everywhere',
    'large.bin':
      'version https://git-lfs.github.com/spec/v1\noid sha256:0000000000000000000000000000000000000000000000000000000000000000\nsize 12345\n',
  });
  let git = await startGitServer({ root: join(root, 'git'), token: 'a-token' });
  const volume = join(root, 'volume');
  const url = git.repositoryUrl('me/claude');
  const seen = new Set<unknown>();
  const init = async (code: number, settings: Record<string, string> = {}) => {
    const program = startProgram('init', {
      environment: {
        BERTH_REPO: url,
        GITHUB_PAT: 'a-token',
        BERTH_CONFIG_DIR: volume,
        BERTH_CREDENTIALS_SOURCE: join(root, 'credentials.json'),
        BERTH_UID: String(process.getuid?.()),
        BERTH_GID: String(process.getgid?.()),
        BERTH_LOG_LEVEL: 'debug',
        ...settings,
      },
    });
    t.equal(await program.ended, code, program.output);
    for (const event of hold(t, program, 'berth-init')) seen.add(event);
    return program;
  };
  await init(0);

  const edit = (path: string, text: string) => writeFileSync(join(volume, path), text);
  edit('notes.md', 'mine\n');
  edit(foreign, 'mine\n');
  edit('settings.json', '{"hooks":{}}');
  edit('CLAUDE.md', '');
  const planted = Array.from({ length: 80 }, (_, index) => `${'long-name-'.repeat(18)}${index}`);
  for (const name of planted) {
    mkdirSync(join(volume, 'skills', name), { recursive: true });
    edit(`skills/${name}/SKILL.md`, 'a skill of nobody');
  }
  repository.commit({ 'notes.md': 'theirs\n', [foreign]: 'theirs\n' });
  await init(0, { BERTH_REPOO: 'a typing error' });

  await git.close();
  const without = await init(0);
  t.match(
    without.lines.find(({ event }) => event === 'report'),
    { report_version: 1, version, remote: 'failed' },
  );
  git = await startGitServer({ root: join(root, 'git'), token: 'another-token' });
  t.teardown(() => git.close());
  const refused = { BERTH_REPO: git.repositoryUrl('me/claude'), BERTH_ON_REMOTE_FAILURE: 'fail' };
  await init(77, refused);
  await init(64, { BERTH_TIMEOUT: 'soon' });
  assertSeen(t, seen, [
    ...[
      'started',
      'lease_acquired',
      'volume_inspected',
      'remote_resolved',
      'fetched',
      'lfs_pointer',
    ],
    ...['reconciled', 'credentials_applied', 'onboarding_answered', 'lease_released', 'report'],
    ...['unknown_setting', 'volume_repaired', 'config_drift', 'local_change', 'credentials_kept'],
    ...['remote_retry', 'remote_failed', 'failed'],
  ]);
});

test('every log line of the supervisor matches the documentation', async (t) => {
  const token = makeToken();
  const root = testDirectory(t, {
    volume: {},
    home: {},
    'credentials.json': credentials('two'),
    tokens: `${tokenLine('n8n', token)}\nplain:${'p'.repeat(40)}\n`,
  });
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  const volume = join(root, 'volume');
  writeFileSync(join(volume, '.credentials.json'), credentials('three'), { mode: 0o600 });
  const seen = new Set<unknown>();
  const serve = (settings: Record<string, string> = {}) => {
    const program = startProgram('serve', {
      arguments: ['serve'],
      environment: {
        HOME: join(root, 'home'),
        BERTH_CONFIG_DIR: volume,
        BERTH_WORKSPACE_DIR: join(root, 'workspace'),
        BERTH_API_TOKENS_FILE: join(root, 'tokens'),
        BERTH_CREDENTIALS_SOURCE: join(root, 'credentials.json'),
        BERTH_HTTP_LISTEN: '127.0.0.1:0',
        BERTH_METRICS_LISTEN: '127.0.0.1:0',
        BERTH_DRAIN_DELAY: '0s',
        BERTH_DRAIN: '10s',
        BERTH_MAX_WORKERS: '2',
        BERTH_SHARED_SPARES: '0',
        BERTH_CLAUDE_PATH: claude,
        BERTH_LOG_LEVEL: 'debug',
        ANTHROPIC_BASE_URL: api.url,
        ...settings,
      },
    });
    t.teardown(() => program.kill('SIGKILL'));
    return program;
  };
  const program = serve({ BERTH_REPOO: 'a typing error', BASH_MAX_TIMEOUT: 'another' });
  const { address } = await program.logged('listening');
  const target = { url: String(address), token };
  const call = (method: string, path: string, bearer: string | undefined = token) =>
    fetch(`${address}${path}`, { method, headers: { authorization: `Bearer ${bearer}` } });

  const answered = await sendPrompt(target, { prompt: '[[say hello]]' });
  t.match(answered, { status: 200, body: { result: 'hello' } });
  const { session_id } = answered.body;
  await sendPrompt(target, { prompt: '[[status 400 say it is not valid]]', session_id });
  await sendPrompt(target, { prompt: '[[hang headers]]', session_id, timeout: '300ms' });
  t.equal((await call('GET', '/v1/status', 'nobody')).status, 401);
  for (const act of ['pause', 'resume']) t.equal((await call('POST', `/v1/${act}`)).status, 200);

  const isLost = ({ body }: RecordedRequest) => JSON.stringify(body).includes('found again');
  let killed = false;
  api.reply((request) =>
    !killed && isLost(request) ? { text: 'begun', ending: 'hang stream' } : undefined,
  );
  const lost = sendPrompt(target, { prompt: '[[say found again]]', session_id });
  t.ok(await api.waitForRequest(isLost));
  const busy = async () => {
    const { workers } = (await (await call('GET', '/v1/status')).json()) as {
      workers: { state: string; pid: number }[];
    };
    const pids = workers.flatMap(({ state, pid }) => (state === 'busy' ? [pid] : []));
    return pids.length === 1 ? pids[0] : undefined;
  };
  process.kill(await until('a worker is busy', busy), 'SIGKILL');
  killed = true;
  t.match(await lost, { status: 200, body: { recycled: 1 } });

  const path = `/v1/sessions/${session_id}`;
  t.equal((await call('DELETE', path)).status, 204);
  const many = Array.from({ length: 700 }, (_, index) =>
    tokenLine(`caller-of-many-${index}`, makeToken()),
  );
  // The supervisor reads the file every second: it must not see half of it.
  writeFileSync(join(root, 'tokens.new'), `${[tokenLine('n8n', token), ...many].join('\n')}\n`);
  renameSync(join(root, 'tokens.new'), join(root, 'tokens'));
  const reloaded = await until('the tokens are read again', () =>
    program.lines.filter(({ event }) => event === 'tokens_loaded').at(1),
  );
  t.equal(reloaded.truncated, true, 'their names are more than a line takes');
  const last = sendPrompt(target, { prompt: '[[slow 60]] [[say at last]]' });
  await api.waitForRequest(({ body }) => JSON.stringify(body).includes('at last'));
  program.kill('SIGTERM');
  t.match(await last, { status: 200 });
  t.equal(await program.ended, 0);
  for (const event of hold(t, program, 'berth')) seen.add(event);
  t.notOk(existsSync(join(volume, '.berth/lease.json')));

  const wrong = serve({ BERTH_DRAIN: 'later' });
  t.equal(await wrong.ended, 64);
  for (const event of hold(t, wrong, 'berth')) seen.add(event);

  const chatty = join(root, 'chatty');
  const printed = `yes 'é "quoted" \\ 😀' | head -c 1000000 >&2`;
  writeFileSync(chatty, `#!/bin/sh\n${printed}\nexit 1\n`, { mode: 0o755 });
  const without = serve({ BERTH_CLAUDE_PATH: chatty });
  t.equal(await without.ended, 69, 'it fails its self-test');
  for (const event of hold(t, without, 'berth')) seen.add(event);
  assertSeen(t, seen, [
    ...[
      'unknown_setting',
      'cli_variable_ignored',
      'started',
      'tokens_loaded',
      'token_plain',
      'lease_acquired',
      'listening',
    ],
    ...['credentials_seen', 'memory_unreadable', 'cli_tested'],
    ...['sessions_loaded', 'worker_starting', 'worker_ready', 'turn_started', 'turn_finished'],
    ...['auth_failed', 'audit', 'turn_carried_on', 'worker_ended', 'worker_recycled'],
    ...['session_removed', 'draining', 'lease_released', 'stopped', 'failed'],
  ]);
});

test('every log line of write-back matches the documentation', async (t) => {
  const root = testDirectory(t, { volume: { '.credentials.json': credentials('four') } });
  const api = await startKubernetesApi();
  t.teardown(() => api.close());
  mountAccount(join(root, 'account'), api);
  api.secrets.put('berth', 'berth-live', {});
  api.allow('berth/berth-live', ['get', 'patch']);
  api.fault({ kind: 'status', status: 500 });
  const { hostname, port } = new URL(api.url);
  const program = startProgram('serve', {
    arguments: ['write-back'],
    environment: {
      BERTH_WRITE_BACK_SECRET: 'berth-live',
      BERTH_WRITE_BACK_LISTEN: '127.0.0.1:0',
      BERTH_CONFIG_DIR: join(root, 'volume'),
      BERTH_KUBERNETES_ACCOUNT_DIR: join(root, 'account'),
      BERTH_LOG_LEVEL: 'debug',
      KUBERNETES_SERVICE_HOST: hostname,
      KUBERNETES_SERVICE_PORT: port,
    },
  });
  t.teardown(() => program.kill('SIGKILL'));
  await program.logged('write_back_failed');
  api.fault(undefined);
  await program.logged('credentials_written_back');
  program.kill('SIGTERM');
  t.equal(await program.ended, 0, program.output);
  const wanted = ['started', 'listening', 'write_back_failed', 'write_back_recovered', 'stopped'];
  assertSeen(t, hold(t, program, 'berth-write-back'), wanted);
});
