import {
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { SessionCatalog, type SessionState } from '../../../supervisor/sessions/catalog.ts';
import {
  cleanupPeriodDays,
  Retention,
  type RetentionOptions,
} from '../../../supervisor/sessions/retention.ts';
import { Transcripts } from '../../../supervisor/sessions/transcripts.ts';
import { Workspaces } from '../../../supervisor/sessions/workspaces.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { idOf, sessionRecord, storeIn } from '../../support/session-record.ts';

const day = 86_400_000;
const now = Date.parse('2026-06-01T00:00:00Z');

/** A monotonic clock: the parts under test have begun an hour ago. */
function anHourLater(): () => number {
  let isBegun = false;
  return () => {
    const elapsed = isBegun ? day : 0;
    isBegun = true;
    return elapsed;
  };
}

/** Real files of sessions, and a clock that stands still. */
async function open(t: Test, options: Partial<RetentionOptions> = {}) {
  const directory = testDirectory(t, { config: {}, work: {}, tmp: {} });
  const config = join(directory, 'config');
  const temporary = join(directory, 'tmp');
  const store = storeIn(t, join(config, '.berth'));
  const transcripts = new Transcripts({ configDirectory: config, temporaryDirectory: temporary });
  const workspaces = new Workspaces(join(directory, 'work'));
  const states = new Map<string, SessionState>();
  const log = captureLog();
  const catalog = new SessionCatalog({
    store,
    transcripts,
    workspaces,
    running: {
      stateOf: (id) => states.get(id) ?? 'stored',
      interrupt: () => false,
      endSession: async () => {},
    },
    log: log.log,
  });
  const retention = new Retention({
    retention: 30 * day,
    budget: undefined,
    store,
    catalog,
    transcripts,
    workspaces,
    configDirectory: config,
    temporaryDirectory: temporary,
    log: log.log,
    now: () => now,
    elapsed: anHourLater(),
    ...options,
  });
  const write = (path: string, bytes = 10, age = 0): string => {
    const full = join(directory, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, Buffer.alloc(bytes, 'x'));
    utimesSync(full, (now - age) / 1_000, (now - age) / 1_000);
    return full;
  };
  return {
    directory,
    config,
    log,
    states,
    store,
    workspaces,
    write,
    round: (signal = new AbortController().signal) => retention.round(signal),
    /** A session last used `days` ago, with a transcript of that many bytes. */
    add: async (
      number: number,
      days: number,
      bytes = 10,
      mode: 'shared' | 'session' = 'shared',
    ) => {
      const id = idOf(number);
      const working_directory = workspaces.make(`worker-${number}`, mode);
      const last_used_at = new Date(now - days * day).toISOString();
      await store.write(sessionRecord({ id, last_used_at, working_directory }));
      write(`config/projects/-work/${id}.jsonl`, bytes);
      return { id, directory: working_directory.path };
    },
    left: () =>
      readdirSync(join(config, 'projects/-work'))
        .map((name) => Number.parseInt(name.slice(0, 8), 16))
        .sort(),
  };
}

t.test('a session that is unused for too long is removed with all its files', async (t) => {
  const { add, round, left, store, write, config } = await open(t);
  const old = await add(1, 31, 10, 'session');
  await add(2, 29);
  write(`config/projects/-work/${old.id}/tool-results/x.txt`);
  write(`config/session-env/${old.id}/x`);
  t.match(await round(), { expired: 1, overBudget: 0, failed: 0 });
  t.strictSame(left(), [2]);
  t.equal(await store.read(old.id), undefined);
  t.notOk(existsSync(old.directory));
  t.notOk(existsSync(join(config, 'session-env', old.id)));
  t.strictSame(readdirSync(join(config, '.berth/sessions')), [`${idOf(2)}.json`]);
  t.match(await round(), { expired: 0 }, 'once is enough');
});

t.test('a session that is busy or has a process is never removed', async (t) => {
  const { add, round, left, states } = await open(t, { budget: 1 });
  for (const number of [1, 2, 3]) await add(number, 100);
  states.set(idOf(1), 'busy').set(idOf(2), 'idle');
  t.match(await round(), { expired: 1, failed: 0 });
  t.strictSame(left(), [1, 2]);
});

t.test('with 0 sessions are kept for ever', async (t) => {
  const { add, round, left } = await open(t, { retention: 0 });
  await add(1, 10_000);
  t.match(await round(), { expired: 0 });
  t.strictSame(left(), [1]);
});

t.test(
  'above the budget, the least recently used sessions are removed until the rest fits',
  async (t) => {
    const { add, round, left, log } = await open(t, { budget: 250_000 });
    await add(1, 3, 100_000);
    await add(2, 1, 100_000);
    await add(3, 2, 100_000);
    const own = await add(4, 4, 10, 'session');
    writeFileSync(join(own.directory, 'large'), Buffer.alloc(100_000));
    const done = await round();
    t.match(done, { expired: 0, overBudget: 2 });
    t.ok((done.bytes ?? 0) <= 250_000);
    t.strictSame(left(), [2, 3]);
    t.notOk(existsSync(own.directory), 'its own directory counts too');
    t.equal(log.count('session_removed'), 2);
  },
);

t.test('while the jobs cannot be read, sessions are removed only from a full volume', async (t) => {
  let [isReadable, isFull] = [false, false];
  const wanted = async () => {
    if (!isReadable) throw new Error('Redis is away');
    return new Set([idOf(1)]);
  };
  const { add, round, left } = await open(t, { wanted, isFull: () => isFull, budget: 1 });
  for (const session of [1, 2]) await add(session, 40);
  t.match(await round(), { expired: 0, overBudget: 0, failed: 0 });
  t.same(left(), [1, 2], 'no job was ever read');
  isReadable = true;
  t.match(await round(), { expired: 1 });
  t.same(left(), [1]);
  isReadable = false;
  await add(3, 40);
  t.match(await round(), { expired: 0, overBudget: 0 });
  isFull = true;
  t.match(await round(), { expired: 1, failed: 0 });
  t.same(left(), [1], 'what jobs waited for last');
});

t.test('after the clock was set nothing goes for its age for a day', async (t) => {
  let [clock, elapsed] = [now, 0];
  const { add, round, left } = await open(t, { now: () => clock, elapsed: () => elapsed });
  await add(1, 0);
  t.match(await round(), { expired: 0 });
  const later = (milliseconds: number): void => {
    clock += milliseconds;
    elapsed += milliseconds;
  };
  later(day / 24);
  clock += 365 * day;
  t.match(await round(), { expired: 0, failed: 0 });
  later(day / 2);
  t.match(await round(), { expired: 0 });
  t.same(left(), [1]);
  later(day);
  t.match(await round(), { expired: 1 });
});

t.test(
  'a session that cannot be removed stays unchanged and does not block other removals',
  async (t) => {
    const { add, round, store, config } = await open(t);
    const bad = await add(1, 40);
    const good = await add(2, 40);
    const path = join(config, '.berth/sessions', `${bad.id}.json`);
    rmSync(path);
    mkdirSync(path);
    writeFileSync(join(path, 'in-the-way'), '');
    t.match(await round(), { expired: 1, failed: 1 });
    t.equal(await store.read(good.id), undefined);
    t.ok(await store.read(bad.id));
  },
);

t.test('a round ends soon after its signal', async (t) => {
  const { add, round, left } = await open(t);
  for (const number of [1, 2, 3]) await add(number, 40);
  const over = new AbortController();
  over.abort(new Error('stopping'));
  await t.rejects(round(over.signal), { message: 'stopping' });
  t.strictSame(left(), [1, 2, 3]);
});

t.test('leftovers of the CLI are removed after a week, and all other files stay', async (t) => {
  const { add, round, write, directory } = await open(t);
  const known = await add(1, 1);
  const uid = process.getuid?.() ?? 0;
  const week = 8 * day;
  const gone = [
    'config/sessions/4194305.json',
    `config/sessions/4194305.${'a'.repeat(64)}.key`,
    'config/shell-snapshots/snapshot-bash-1795457227320-hx3tos.sh',
    'config/.claude.json.tmp.5294.49450b454b2d',
    'config/.credentials.json.tmp.0a1b2c3d',
    'tmp/cc-socks/4194305.sock',
  ];
  const stays = [
    `config/sessions/${process.pid}.json`,
    'config/sessions/notes.json',
    'config/shell-snapshots/mine.sh',
    'config/.claude.json',
    'config/.credentials.json',
    'config/settings.json',
    'config/skills/x/SKILL.md',
    'config/projects/-work/memory/MEMORY.md',
    `config/session-env/${known.id}/x`,
    `tmp/cc-socks/${process.pid}.sock`,
    'tmp/other',
  ];
  for (const path of [...gone, ...stays]) write(path, 1, week);
  const young = 'config/sessions/4194306.json';
  write(young, 1, 6 * day);
  // The age of a directory is its own.
  for (const path of [`config/session-env/${idOf(9)}`, `tmp/claude-${uid}/fswatch-probe-q2Or2m`]) {
    write(`${path}/probe`, 1, week);
    utimesSync(join(directory, path), (now - week) / 1_000, (now - week) / 1_000);
    gone.push(path);
  }
  t.match(await round(), { expired: 0, leftovers: gone.length });
  for (const path of gone) t.notOk(existsSync(join(directory, path)), path);
  for (const path of [...stays, young]) t.ok(existsSync(join(directory, path)), path);
});

t.test(
  'while transcripts cannot be read, the files that the CLI keeps by session stay',
  async (t) => {
    // Its own target: each lookup below it is an error of the system.
    const loop = join(testDirectory(t), 'loop');
    symlinkSync('loop', loop);
    const transcripts = new Transcripts({ configDirectory: loop, temporaryDirectory: loop });
    const { add, round, write, directory, log } = await open(t, { transcripts });
    const { id } = await add(1, 1);
    const places = ['session-env', 'file-history', 'tasks'].map((place) => `config/${place}/${id}`);
    for (const path of places) {
      write(`${path}/file`, 1, 8 * day);
      utimesSync(join(directory, path), (now - 8 * day) / 1_000, (now - 8 * day) / 1_000);
    }
    const snapshot = write('config/shell-snapshots/snapshot-bash-1-a.sh', 1, 8 * day);
    t.match(await round(), { leftovers: 1 });
    for (const path of places) t.ok(existsSync(join(directory, path, 'file')), path);
    t.notOk(existsSync(snapshot), 'the other leftovers are removed');
    t.match(
      log.lines.find(({ event }) => event === 'retention_failed'),
      {
        level: 'warn',
        msg: /cannot read all transcripts/,
        error: { code: 'ELOOP' },
      },
    );
  },
);

t.test('the clean-up of the CLI is never faster than ours', (t) => {
  t.equal(cleanupPeriodDays(30 * day), 31);
  t.equal(cleanupPeriodDays(day / 24), 2);
  t.equal(cleanupPeriodDays(1.5 * day), 3);
  t.equal(cleanupPeriodDays(0), 36_500);
  t.end();
});
