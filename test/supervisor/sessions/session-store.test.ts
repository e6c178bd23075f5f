import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import t, { type Test } from 'tap';
import { type SessionRecord, SessionStore } from '../../../supervisor/sessions/session-store.ts';

const id = '6f1c3b0e-6b0f-4b57-8d28-5d3c1f0f7a11';
const record: SessionRecord = {
  version: 1,
  id,
  token: 'n8n',
  created_at: '2026-01-01T00:00:00Z',
  last_used_at: '2026-01-01T00:00:00Z',
  turns: 1,
  cost_usd: 0.5,
};

function open(t: Test) {
  const state = t.testdir({ sessions: {} });
  const path = join(state, 'sessions', `${id}.json`);
  return { state, path, store: new SessionStore(state) };
}

t.test('a record is read back, by another store too', async (t) => {
  const { state, store, path } = open(t);
  await store.write(record);
  t.same(await store.read(id), record);
  t.same(await new SessionStore(state).read(id), record);
  t.same(JSON.parse(readFileSync(path, 'utf8')), record);
});

t.test('the newest write is seen before it is durable, and writes keep their order', async (t) => {
  const { state, store } = open(t);
  const turns = [1, 2, 3, 4, 5];
  for (const turn of turns) {
    void store.write({ ...record, turns: turn });
    t.equal((await store.read(id))?.turns, turn);
  }
  await store.flush();
  t.equal((await new SessionStore(state).read(id))?.turns, 5);
});

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
  'one of a newer version': JSON.stringify({ ...record, version: 2 }),
  'one without an owner': JSON.stringify({ ...record, token: undefined }),
  'one with an owner of another type': JSON.stringify({ ...record, token: ['n8n'] }),
  'one that is a list': '[]',
  'one that is null': 'null',
  'one that is too large': JSON.stringify({ ...record, more: 'x'.repeat(20_000) }),
};

for (const [what, content] of Object.entries(hostile)) {
  t.test(`of the files that somebody planted, ${what} is no session, and stays`, async (t) => {
    const { path, store } = open(t);
    writeFileSync(path, content);
    t.equal(await store.read(id), undefined);
    t.ok(existsSync(path));
  });
}

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
  t.equal((await new SessionStore(state).read(id))?.turns, 2);
  t.strictSame(readdirSync(join(state, 'sessions')), [basename(path)], 'in the same file');
});

t.test('what has an id that is no UUID is not written', async (t) => {
  const { state, store } = open(t);
  for (const bad of ['../secret', `../${id}`, '', `${id}\0`]) {
    await t.rejects(store.write({ ...record, id: bad }), {
      code: 'internal',
      message: /^cannot record the session .*: its id is no UUID/,
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
  t.equal(await store.read(id), undefined);
  await t.rejects(store.write({ ...record, turns: 2 }), {
    code: 'volume_unwritable',
    message: /sessions is no directory; start berth again/,
  });
  t.equal(JSON.parse(readFileSync(path, 'utf8')).turns, 1);
  t.strictSame(readdirSync(join(state, 'elsewhere')), [basename(path)]);
});

t.test('a directory in its place is no session, and a write says why it failed', async (t) => {
  const { path, store } = open(t);
  mkdirSync(join(path, 'full'), { recursive: true });
  t.equal(await store.read(id), undefined);
  await t.rejects(store.write(record), {
    code: 'volume_unwritable',
    message: /^cannot write .*6f1c3b0e/,
  });
  t.equal(await store.read(id), undefined, 'what could not be written is not there');
});
