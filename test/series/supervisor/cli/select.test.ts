/** Which CLI is run: one on the PATH, or what init has put on the volume, with the one before it. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { installedPlace } from '../../../../shared/installed-cli.ts';
import { abortable } from '../../../../shared/waiting.ts';
import { findCli, noteTested } from '../../../../supervisor/cli/select.ts';
import { readSupervisorConfig } from '../../../../supervisor/config.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { makeSurroundings, realClaude, scripted, scriptedClaude } from '../../../support/claude.ts';
import { makeSupervisor } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

t.jobs = 2;

const [first, second] = ['1'.repeat(32), '2'.repeat(32)] as [string, string];
/** Passes the self-test, as the real one does in self-test.test.ts, and has a version of its own. */
const good = `#!/bin/sh\n[ "$1" = --version ] && echo "2.1.321 (Claude Code)" && exit 0\nexec '${scriptedClaude}' "$@"\n`;

/** A PATH without a CLI: tests are started with that of node_modules. */
const path = [dirname(process.execPath), '/usr/bin', '/bin'].join(':');

async function prepare(t: Test, more: Record<string, string> = {}) {
  const surroundings = await makeSurroundings(t);
  const environment = {
    ...surroundings.inherited,
    PATH: `${join(surroundings.workspace, 'bin')}:${path}`,
    BERTH_CONFIG_DIR: surroundings.config,
  };
  const { config } = readSupervisorConfig({ ...environment, ...more });
  const state = config.stateDirectory;
  const log = captureLog();
  const place = (id: string) => installedPlace(state, id);
  const put = (id: string, content: string | Buffer): void => {
    mkdirSync(place(id).directory, { recursive: true });
    writeFileSync(place(id).binary, content);
    chmodSync(place(id).binary, 0o755);
  };
  const record = (content: unknown): void => {
    mkdirSync(state, { recursive: true });
    writeFileSync(join(state, 'cli.json'), JSON.stringify(content));
  };
  record({ version: 1, current: second, previous: first });
  put(first, good);
  const { signal } = new AbortController();
  const find = (retryFor = 1_400) => findCli({ config, log: log.log, signal, retryFor });
  return { surroundings, state, log, place, put, record, find };
}

t.test('BERTH_CLAUDE_PATH has priority, then `claude` on the PATH', async (t) => {
  const onPath = await prepare(t, { PATH: `${dirname(realClaude)}:${path}` });
  t.match(await onPath.find(), { path: 'claude', version: '2.1.330' });
  const named = await prepare(t, { BERTH_CLAUDE_PATH: '/nowhere/claude' });
  await t.rejects(named.find(), { message: /nowhere.*the program does not exist/ });
});

t.test('a broken CLI on the PATH is an error and is not skipped', async (t) => {
  const { find, surroundings } = await prepare(t);
  const directory = join(surroundings.workspace, 'bin');
  mkdirSync(directory);
  symlinkSync(scripted('claude-that-is-old'), join(directory, 'claude'));
  await t.rejects(find(), { message: /2\.1\.197.*is required/ });
});

t.test(
  'without a CLI on the PATH, the installed CLI is used, and a new CLI is tested first',
  async (t) => {
    const { find, put, place, state, log } = await prepare(t);
    put(second, good);
    const found = await find();
    t.match(found, { path: place(second).binary, id: second, passed: {}, passedBefore: false });
    await noteTested(state, second, log.log);
    put(second, good.replace('exec', 'exit 3; exec'));
    t.match(await find(), { id: second, passedBefore: true }, 'not again when it has passed');
    // The scripted CLI refuses a schema and hooks that it learns late.
    const unexpected = log.lines.filter(
      ({ msg }) => !/shared spares are not used/.test(String(msg)),
    );
    t.same(unexpected, []);
  },
);

t.test('a CLI version that fails its self-test is replaced by the previous version', async (t) => {
  const { find, put, place, record, log } = await prepare(t);
  const failing: Record<string, [string | Buffer, RegExp]> = {
    'it fails its self-test': [
      good.replace('exec', 'echo no moon >&2; exit 3; exec'),
      /self-test.*no moon/,
    ],
    'it speaks another protocol': [
      good.replace('exec', `echo '{"type":"result","subtype":42}'; exec sleep 60; exec`),
      /fails its self-test.*was ended by SIGKILL.*differs from the tested protocol/s,
    ],
    'it is no program': [
      Buffer.concat([Buffer.from('\x7fELF'), Buffer.alloc(60, 0xf3)]),
      /not a program for this machine/,
    ],
    'it is linked with what is not here': ['#!/lib/ld-musl-nowhere.so.1\n', /does not run on musl/],
    'it is too old': ['#!/bin/sh\necho 2.1.100\n', /is required/],
  };
  for (const [name, [content, message]] of Object.entries(failing)) {
    put(second, content);
    t.match(await find(), { id: first, version: '2.1.321', setBack: true }, name);
    t.match(log.lines.at(-1), { level: 'error', event: 'cli_set_back', msg: message }, name);
  }
  rmSync(place(second).directory, { recursive: true });
  t.match(await find(), { id: first });
  put(second, '#!/bin/sh\nexit 3\n');
  rmSync(place(first).binary);
  await t.rejects(find(), { code: 'cli_unavailable', message: /Command failed/ });
  record({ version: 1, current: second });
  await t.rejects(find(), { code: 'cli_unavailable', message: /Command failed/ });
});

t.test('a CLI that crashes is retried, and replaced only if the previous CLI works', async (t) => {
  const { find, put, log } = await prepare(t);
  const crashing = good.replace('exec', () => 'echo panic >&2; kill -ABRT $$; exec');
  put(second, crashing);
  // One attempt at least comes after the first, also if that takes two seconds.
  t.match(await find(2_500), { id: first, setBack: true });
  const [retried, ...others] = log.lines;
  t.match(retried, { level: 'warn', event: 'cli_tested', retry_ms: 500 });
  t.match(others.pop(), {
    ...{ level: 'error', event: 'cli_set_back' },
    msg: /SIGABRT.*memory.*\(panic\)/,
  });
  t.ok(others.every(({ event }) => event === 'cli_tested'));
  put(first, crashing);
  await t.rejects(find(), { code: 'cli_unavailable', message: /^cannot test .*2{32}.*SIGABRT/ });
});

t.test('a symlink in place of the installed CLI is not followed', async (t) => {
  const { find, place, record, surroundings } = await prepare(t);
  rmSync(place(first).binary);
  symlinkSync(realClaude, place(first).binary);
  record({ version: 1, current: first });
  await t.rejects(find(), { message: /does not exist any more; delete the pod/ });
  const outside = join(surroundings.workspace, 'planted');
  mkdirSync(outside);
  writeFileSync(join(outside, 'claude'), good, { mode: 0o755 });
  symlinkSync(outside, place(second).directory);
  record({ version: 1, current: second });
  await t.rejects(find(), { message: /does not exist any more; delete the pod/ });
  const missing = /the program does not exist; install it .*BERTH_CLAUDE_TARBALL/;
  for (const wrong of [{ version: 1, current: '../../../workspace' }, { version: 2 }, [], 'x']) {
    record(wrong);
    await t.rejects(find(), { code: 'cli_unavailable', message: missing });
  }
});

t.test('prompts are answered by it, and that it works is noted', async (t) => {
  const { surroundings, put, record, state } = await prepare(t);
  put(second, good);
  record({ version: 1, current: second });
  const made = await makeSupervisor(t, {
    surroundings,
    environment: { BERTH_CLAUDE_PATH: undefined, PATH: path },
  });
  await made.supervisor.start(new AbortController().signal);
  t.match(await made.prompt('hello'), { status: 200 });
  t.match((await made.call('GET', '/v1/status')).body, { cli_version: '2.1.321' });
  await until('it is noted', () => existsSync(join(state, 'cli-tested.json')));
  t.same(JSON.parse(readFileSync(join(state, 'cli-tested.json'), 'utf8')), {
    version: 1,
    ids: [second],
  });
  await made.supervisor.stop();
  const again = await makeSupervisor(t, {
    surroundings,
    environment: { BERTH_CLAUDE_PATH: undefined, PATH: path },
    parts: { testCli: ({ signal }) => abortable(new Promise<never>(() => {}), signal) },
  });
  await again.supervisor.start(new AbortController().signal);
  t.match(await again.prompt('hello'), { status: 200 }, 'at the next start no prompt waits');
});
