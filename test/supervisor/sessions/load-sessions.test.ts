import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadSessions } from '../../../supervisor/sessions/load-sessions.ts';
import { Workspaces } from '../../../supervisor/sessions/workspaces.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { sessionRecord, storeIn } from '../../support/session-record.ts';

/** A session with work in its own directory, and a directory of a worker that never served. */
async function open(t: Test) {
  const directory = testDirectory(t, { state: { sessions: {} }, work: {} });
  const before = new Workspaces(join(directory, 'work'));
  const own = before.make('worker-1', 'session');
  const empty = before.make('worker-2', 'session').path;
  const work = join(own.path, 'work.txt');
  writeFileSync(work, 'uncommitted');
  const state = join(directory, 'state');
  await storeIn(t, state).write(sessionRecord({ working_directory: own }));
  const log = captureLog();
  const load = async (): Promise<void> => {
    const workspaces = new Workspaces(join(directory, 'work'));
    const { signal } = new AbortController();
    const options = { store: storeIn(t, state), workspaces, log: log.log, signal };
    await loadSessions(options, await workspaces.names());
  };
  return { records: join(state, 'sessions'), work, empty, log, load };
}

t.test('a start removes the directories that no session names', async (t) => {
  const { work, empty, log, load } = await open(t);
  await load();
  t.ok(existsSync(work));
  t.notOk(existsSync(empty));
  t.match(log.lines, [{ event: 'sessions_loaded', level: 'info', directories_removed: 1 }]);
});

t.test('a start that cannot read the records removes no working directory', async (t) => {
  const { records, work, empty, log, load } = await open(t);
  rmSync(records, { recursive: true });
  writeFileSync(records, 'not a directory');
  await load();
  t.ok(existsSync(work));
  t.ok(existsSync(empty));
  t.match(log.lines, [{ event: 'sessions_loaded', level: 'error', error: { code: 'ENOTDIR' } }]);
});

t.test('a start that reads only some of the records removes no working directory', async (t) => {
  const { records, work, empty, log, load } = await open(t);
  mkdirSync(join(records, '00000000-0000-4000-8000-000000000000.json'));
  await load();
  t.ok(existsSync(work));
  t.ok(existsSync(empty));
  t.match(log.lines.at(-1), { event: 'sessions_loaded', level: 'warn', unreadable: 1 });
});

t.test('a start without the directory of records removes only empty directories', async (t) => {
  const { records, work, empty, log, load } = await open(t);
  rmSync(records, { recursive: true });
  await load();
  t.ok(existsSync(work));
  t.notOk(existsSync(empty));
  t.match(log.lines, [
    { event: 'sessions_loaded', level: 'warn', msg: /1 working directories with content are kept/ },
  ]);
  await load();
  t.ok(existsSync(work), 'the next start keeps it too');
});
