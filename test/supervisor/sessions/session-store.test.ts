import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import t, { type Test } from 'tap';
import type { TurnResult } from '../../../supervisor/claude/turn-result.ts';
import { keepReport, longestReport } from '../../../supervisor/sessions/background-reports.ts';
import { recordVersion } from '../../../supervisor/sessions/session-record.ts';
import { SessionStore } from '../../../supervisor/sessions/session-store.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { sessionId as id, idOf, sessionRecord, storeIn } from '../../support/session-record.ts';
import { plantUnreadable } from '../../support/unreadable-file.ts';
import { until } from '../../support/until.ts';

const record = sessionRecord();

function open(t: Test) {
  const state = testDirectory(t, { sessions: {} });
  const path = join(state, 'sessions', `${id}.json`);
  return { state, path, store: storeIn(t, state) };
}

t.test('a record is read back, by another store too', async (t) => {
  const { state, store, path } = open(t);
  await store.write(record);
  t.same(await store.read(id), record);
  t.same(await storeIn(t, state).read(id), record);
  t.same(JSON.parse(readFileSync(path, 'utf8')), record);
});

t.test(
  'the newest write is visible before the write is durable, and writes stay in sequence',
  async (t) => {
    const { state, store } = open(t);
    const turns = [1, 2, 3, 4, 5];
    for (const turn of turns) {
      void store.write({ ...record, turns: turn });
      t.equal((await store.read(id))?.turns, turn);
    }
    await store.flush();
    t.equal((await storeIn(t, state).read(id))?.turns, 5);
  },
);

t.test('a session that was never written is not there', async (t) => {
  t.equal(await open(t).store.read(id), undefined);
});

t.test('an id that is no UUID never becomes a path', async (t) => {
  const { state, store } = open(t);
  writeFileSync(join(state, 'secret.json'), JSON.stringify({ ...record, id: '../secret' }));
  for (const bad of ['../secret', `../sessions/${id}`, `${id}\0`, '', '/etc/passwd', `${id}/..`]) {
    t.equal(await store.read(bad), undefined, JSON.stringify(bad));
  }
});

const hostile: Record<string, string | Buffer> = {
  'an empty one': '',
  'a torn one': JSON.stringify(record).slice(0, 40),
  'one full of NUL': Buffer.alloc(100),
  'one of another session': JSON.stringify({ ...record, id: id.replace('6', '7') }),
  'one of a newer version': JSON.stringify({ ...record, version: recordVersion + 1 }),
  'one with half a turn': JSON.stringify({ ...record, turns: 0.5 }),
  'one with more turns than can be counted': JSON.stringify({ ...record, turns: 1e300 }),
  'one with fewer turns than none': JSON.stringify({ ...record, turns: -1 }),
  'one with half a token': JSON.stringify({
    ...record,
    usage: { ...record.usage, input_tokens: 0.5 },
  }),
  'one that has cost more than there is': JSON.stringify({ ...record, cost_usd: 1e300 }),
  'one of a time that is none': JSON.stringify({ ...record, last_used_at: 'yesterday' }),
  'one with flags of another type': JSON.stringify({ ...record, flags: { model: 1 } }),
  'one with figures of another type': JSON.stringify({ ...record, turns: '1' }),
  'one with a name that is too long': JSON.stringify({ ...record, token: 'x'.repeat(300) }),
  'one without an owner': JSON.stringify({ ...record, token: undefined }),
  'one with an owner of another type': JSON.stringify({ ...record, token: ['n8n'] }),
  'one that is a list': '[]',
  'one that is null': 'null',
  'one that is too large': JSON.stringify({ ...record, more: 'x'.repeat(270_000) }),
  'one that is nested without end': `${'['.repeat(30_000)}${']'.repeat(30_000)}`,
};

for (const [what, content] of Object.entries(hostile)) {
  t.test(`a planted file is not a session, and its content is kept: ${what}`, async (t) => {
    const { state, path, store } = open(t);
    writeFileSync(path, content);
    t.equal(await store.read(id), undefined);
    t.equal(await store.read(id), undefined);
    const isNewer = what.includes('newer');
    const found = readdirSync(state, { recursive: true }).map(String);
    const kept = found.filter((name) => name.endsWith(`${id}.json`));
    t.equal(kept.length, 1);
    t.equal(kept[0] === join('sessions', `${id}.json`), isNewer);
    t.same(readFileSync(join(state, kept[0] ?? '')), Buffer.from(content));
  });
}

t.test('a session is read again with all that a request may have it keep', async (t) => {
  const { state, store } = open(t);
  const flags = { append_system_prompt: 'x'.repeat(32 * 1024), allowed_tools: ['Read'] };
  await store.write({ ...record, flags });
  t.same((await storeIn(t, state).read(id))?.flags, flags);
});

t.test('a symlink is not followed when it is read, and replaced when it is written', async (t) => {
  const { state, path, store } = open(t);
  const elsewhere = join(state, 'elsewhere.json');
  writeFileSync(elsewhere, JSON.stringify(record));
  symlinkSync(elsewhere, path);
  t.equal(await store.read(id), undefined);
  await store.write({ ...record, turns: 2 });
  t.equal((await store.read(id))?.turns, 2);
  t.same(JSON.parse(readFileSync(elsewhere, 'utf8')), record, 'what it pointed to is untouched');
});

t.test('a session is found however its id is written', async (t) => {
  const { state, path, store } = open(t);
  const upper = id.toUpperCase();
  const writing = store.write(record);
  t.same(await store.read(upper), record, 'before it is durable');
  await writing;
  t.same(await store.read(upper), record);
  await store.write({ ...record, id: upper, turns: 2 });
  t.equal((await storeIn(t, state).read(id))?.turns, 2);
  t.strictSame(readdirSync(join(state, 'sessions')), [basename(path)], 'in the same file');
});

t.test('a record with an id that is not a UUID is not written', async (t) => {
  const { state, store } = open(t);
  for (const bad of ['../secret', `../${id}`, '', `${id}\0`]) {
    await t.rejects(store.write({ ...record, id: bad }), {
      code: 'internal',
      message: /^cannot record the session .*: its id is not a UUID/,
    });
  }
  t.strictSame(readdirSync(state), ['sessions']);
  t.strictSame(readdirSync(join(state, 'sessions')), []);
});

t.test('a symlink in the place of the directory is never followed', async (t) => {
  const { state, path, store } = open(t);
  await store.write(record);
  renameSync(join(state, 'sessions'), join(state, 'elsewhere'));
  symlinkSync('elsewhere', join(state, 'sessions'));
  t.equal(await storeIn(t, state).read(id), undefined);
  await t.rejects(store.write({ ...record, turns: 2 }), {
    code: 'volume_unwritable',
    message: /sessions is not a directory; restart berth/,
  });
  t.equal(JSON.parse(readFileSync(path, 'utf8')).turns, 1);
  t.strictSame(readdirSync(join(state, 'elsewhere')), [basename(path)]);
});

t.test(
  'a directory at the record path is not a session; a write fails or replaces the directory',
  async (t) => {
    const { path, store } = open(t);
    mkdirSync(join(path, 'full'), { recursive: true });
    await t.rejects(store.write(record), {
      code: 'volume_unwritable',
      message: /^cannot write .*6f1c3b0e/,
    });
    t.equal(await store.read(id), undefined, 'what could not be written is not there');
    await store.write(record);
    t.same(await store.read(id), record);
  },
);

const { version: _, token, created_at, last_used_at, turns, cost_usd } = record;
const first = { version: 1, id, token, created_at, last_used_at, turns, cost_usd };

t.test('a record of version 1 is read as one of today, and written as one', async (t) => {
  const { path, store } = open(t);
  writeFileSync(path, JSON.stringify(first));
  t.match(await store.open(), { unreadable: 0 });
  const migrated = store.peek(id);
  t.match(migrated, {
    ...first,
    version: 2,
    profile: 'default',
    usage: { input_tokens: 0 },
    working_directory: { path: '/workspace', mode: 'shared' },
    forked_from: null,
    flags: {},
  });
  t.equal(JSON.parse(readFileSync(path, 'utf8')).version, 1, 'reading changes nothing');
  if (migrated) store.note({ ...migrated, turns: 2 });
  await store.flush();
  t.match(JSON.parse(readFileSync(path, 'utf8')), { version: 2, turns: 2, token: 'n8n' });
});

t.test('a file of a newer version is never replaced', async (t) => {
  const { path, store } = open(t);
  const newer = JSON.stringify({ ...record, version: 3, more: true });
  writeFileSync(path, newer);
  t.match(await store.open(), { unreadable: 1 }, 'it is told');
  await t.rejects(store.write(record), {
    code: 'volume_unwritable',
    message: /a newer version of berth has written it; run that version again/,
  });
  t.equal(readFileSync(path, 'utf8'), newer);
});

t.test('a file that the system refuses to read is never replaced', async (t) => {
  const { path, store } = open(t);
  await plantUnreadable(t, path);
  t.equal(await store.read(id), undefined);
  await t.rejects(store.write(record), { code: 'volume_unwritable', message: /ENXIO/ });
  t.ok(statSync(path).isSocket());
});

t.test('invalid files do not prevent the load of the records', async (t) => {
  const { state, store } = open(t);
  await store.write(record);
  const plant = (name: string) => writeFileSync(join(state, 'sessions', name), '{}');
  for (const name of ['x.json', '.berth-1.tmp', `${idOf(1)}.json`, `${id.toUpperCase()}.json`]) {
    plant(name);
  }
  const next = storeIn(t, state);
  t.match(await next.open(), { unreadable: 1 }, 'the one that has the name of a record');
  t.strictSame([...next.records], [record]);
});

t.test('ten thousand turns cause few writes, and the disk has the last figures', async (t) => {
  const { state, store, path } = open(t);
  await store.write(record);
  let written = 0;
  let seen = readFileSync(path, 'utf8');
  for (let turn = 2; turn <= 10_000; turn++) {
    store.note({ ...record, turns: turn });
    if (turn % 500 > 0) continue;
    await new Promise(setImmediate);
    const now = readFileSync(path, 'utf8');
    if (now !== seen) written += 1;
    seen = now;
  }
  t.ok(written <= 20);
  t.equal((await store.read(id))?.turns, 10_000, 'a read sees the newest');
  await until('they are on disk', () => JSON.parse(readFileSync(path, 'utf8')).turns === 10_000);
  t.strictSame(readdirSync(join(state, 'sessions')), [basename(path)], 'and nothing else');
});

t.test(
  'figures that cannot be written are logged once and written as soon as possible',
  async (t) => {
    const state = testDirectory(t, { sessions: {} });
    const log = captureLog();
    const store = new SessionStore({
      stateDirectory: state,
      sharedDirectory: '/workspace',
      log: log.log,
      writeDelay: 2,
    });
    await store.write(record);
    renameSync(join(state, 'sessions'), join(state, 'away'));
    writeFileSync(join(state, 'sessions'), 'in the way');
    store.note({ ...record, turns: 2 });
    await log.logged('session_unrecorded');
    store.note({ ...record, turns: 3 });
    await store.flush();
    t.equal(log.count('session_unrecorded'), 1);
    rmSync(join(state, 'sessions'));
    renameSync(join(state, 'away'), join(state, 'sessions'));
    const onDisk = () => JSON.parse(readFileSync(join(state, 'sessions', `${id}.json`), 'utf8'));
    await until('it is there', () => onDisk().turns === 3);
  },
);

t.test('long reports of background work leave the record small enough to be read', async (t) => {
  const { store, path, state } = open(t);
  const read = () => storeIn(t, state).read(id);
  await store.write(record);
  const report = (sign: string) =>
    keepReport(store, {
      ...{ sessionId: record.id, result: sign.repeat(20_000), isError: false },
    } as TurnResult);
  for (const sign of '0123456789') report(sign);
  await store.flush();
  t.equal((await read())?.background?.at(-1)?.result, '9'.repeat(longestReport));
  report('\u007f\ud800');
  await store.flush();
  t.ok(statSync(path).size < 64 * 1024, 'also with text that is long as JSON');
  t.match((await read())?.background, [{ is_error: false }]);
  const long = { at: '', is_error: false, result: 'x'.repeat(longestReport) };
  writeFileSync(path, JSON.stringify({ ...record, background: Array(10).fill(long) }));
  t.equal((await read())?.background?.length, 10, 'of an earlier version');
});

t.test('a removal that fails loses no figures', async (t) => {
  const { store, state } = open(t);
  await store.write(record);
  store.note({ ...record, turns: 2 });
  store.hide(id);
  t.equal(store.peek(id), undefined);
  store.spend(id, 1, record.usage);
  store.show(record);
  t.match(store.peek(id), { turns: 2, cost_usd: record.cost_usd + 1 });
  await store.flush();
  t.match(await storeIn(t, state).read(id), { turns: 2, cost_usd: record.cost_usd + 1 });
  store.hide(id);
  await store.remove(id);
  store.spend(id, 1, record.usage);
  await store.stop();
  t.equal(await storeIn(t, state).read(id), undefined);
});

t.test('a write that has begun before the loss of the volume leaves nothing there', async (t) => {
  const { state, store } = open(t);
  const writing = store.write(record);
  const sessions = join(state, 'sessions');
  // Each step of the write takes a turn of the event loop at least.
  while (readdirSync(sessions).length === 0) await new Promise(setImmediate);
  store.abandon();
  await t.rejects(writing, { code: 'lease_held' });
  t.same(readdirSync(sessions), []);
});

t.test('a volume that belongs to another pod is not written', async (t) => {
  const { store, path } = open(t);
  await store.write(record);
  store.note({ ...record, turns: 2 });
  store.abandon();
  await store.write({ ...record, turns: 3 });
  await store.remove(record.id);
  await store.stop();
  t.equal(JSON.parse(readFileSync(path, 'utf8')).turns, record.turns);
});

t.test('a stop writes the last figures to the volume and ends all writing', async (t) => {
  const { store, path } = open(t);
  await store.write(record);
  store.note({ ...record, turns: 2 });
  await store.stop();
  t.equal(JSON.parse(readFileSync(path, 'utf8')).turns, 2);
  store.note({ ...record, turns: 3 });
  await store.stop();
  t.equal(
    JSON.parse(readFileSync(path, 'utf8')).turns,
    2,
    'the volume may be somebody else’s by now',
  );
});

t.test('a removed session is not restored by a late turn', async (t) => {
  const { state, store } = open(t);
  void store.write(record);
  const removing = store.remove(id.toUpperCase());
  t.equal(await store.read(id), undefined, 'at once');
  store.note({ ...record, turns: 2 });
  await store.write({ ...record, turns: 3 });
  await removing;
  await store.flush();
  t.equal(await store.read(id), undefined);
  t.strictSame(readdirSync(join(state, 'sessions')), []);
  await store.remove(id);
});

t.test(
  'of more sessions than fit into memory the last used are there, the others found',
  async (t) => {
    const { state, store } = open(t);
    const stamp = (hour: number) => `2026-01-01T0${hour}:00:00.000Z`;
    for (const hour of [3, 1, 4, 2]) {
      await store.write({ ...record, id: idOf(hour), last_used_at: stamp(hour) });
    }
    const small = storeIn(t, state, { most: 2 });
    await small.open();
    t.strictSame([...small.records].map(({ id }) => id).sort(), [idOf(3), idOf(4)]);
    t.equal((await small.read(idOf(1)))?.id, idOf(1));
    t.equal(small.size, 2, 'it took the place of another');
    const all: string[] = [];
    for await (const { id } of small.all()) all.push(id);
    t.strictSame(all.sort(), [idOf(1), idOf(2), idOf(3), idOf(4)]);
  },
);

t.test('the store works while the records load, and newer data stays', async (t) => {
  const { state, store } = open(t);
  for (let count = 1; count <= 50; count++) await store.write({ ...record, id: idOf(count) });
  const next = storeIn(t, state);
  const opening = next.open();
  t.equal((await next.read(idOf(50)))?.id, idOf(50), 'one that is asked for is there');
  next.note({ ...record, id: idOf(50), turns: 7 });
  await next.write({ ...record, id: idOf(51) });
  await next.remove(idOf(1));
  await next.loaded;
  await opening;
  t.equal(next.peek(idOf(50))?.turns, 7);
  t.equal(next.peek(idOf(1)), undefined, 'what was removed does not come back');
  t.equal(next.size, 50);
  await next.stop();
});

t.test('a load that is given up ends, and the store can be used', async (t) => {
  const { state, store } = open(t);
  await store.write(record);
  const next = storeIn(t, state);
  await t.rejects(next.open(AbortSignal.abort(new Error('enough'))), /enough/);
  await next.loaded;
  t.strictSame(await next.read(id), record);
});
