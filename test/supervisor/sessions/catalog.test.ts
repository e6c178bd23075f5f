import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SessionCatalog } from '../../../supervisor/sessions/catalog.ts';
import { Transcripts } from '../../../supervisor/sessions/transcripts.ts';
import { Workspaces } from '../../../supervisor/sessions/workspaces.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { sessionId as id, sessionRecord, storeIn } from '../../support/session-record.ts';

/** A session with a transcript and a working directory. */
async function open(t: Test, most?: number) {
  const directory = testDirectory(t, {
    config: { projects: { '-work': {} } },
    work: {},
    state: {},
  });
  const [config, work] = [join(directory, 'config'), join(directory, 'work')];
  const store = storeIn(t, join(directory, 'state'), most === undefined ? {} : { most });
  await store.open();
  const workspaces = new Workspaces(work);
  const working_directory = workspaces.make('worker-1', 'session');
  writeFileSync(join(working_directory.path, 'work.txt'), 'work');
  const transcript = join(config, 'projects/-work', `${id}.jsonl`);
  writeFileSync(transcript, '{}\n');
  await store.write(sessionRecord({ working_directory }));
  const catalog = new SessionCatalog({
    store,
    transcripts: new Transcripts({ configDirectory: config, temporaryDirectory: directory }),
    workspaces,
    running: { stateOf: () => 'stored', interrupt: () => false, endSession: async () => {} },
    log: captureLog().log,
  });
  return { config, work, transcript, own: working_directory.path, store, catalog };
}

/** Makes each lookup below that directory an error of the system, until the returned call. */
function obstruct(directory: string): () => void {
  renameSync(directory, `${directory}.away`);
  // Its own target.
  symlinkSync(directory, directory);
  return () => {
    rmSync(directory);
    renameSync(`${directory}.away`, directory);
  };
}

for (const part of ['config', 'work'] as const) {
  t.test(`a session is not removed while a directory cannot be read: ${part}`, async (t) => {
    const { transcript, own, store, catalog, ...directories } = await open(t);
    const restore = obstruct(directories[part]);
    await t.rejects(catalog.delete('n8n', id), { code: 'volume_unwritable', message: /ELOOP/ });
    t.match(await catalog.show('n8n', id), { record: { id } }, 'the session exists');
    restore();
    await catalog.delete('n8n', id);
    t.equal(await store.read(id), undefined);
    t.notOk(existsSync(transcript));
    t.notOk(existsSync(own));
  });
}

t.test('a session without content that could not be removed can be removed later', async (t) => {
  const { own, store, catalog, work } = await open(t);
  const restore = obstruct(work);
  await catalog.discard(id);
  t.match(await catalog.show('n8n', id), { record: { id } }, 'retention finds it');
  t.equal(store.isBeingRemoved(id), false);
  restore();
  await catalog.discard(id);
  t.equal(await store.read(id), undefined);
  t.notOk(existsSync(own));
});

t.test('a session without a transcript and without a working directory is removed', async (t) => {
  const { config, work, store, catalog } = await open(t);
  for (const directory of [config, work]) rmSync(directory, { recursive: true });
  mkdirSync(config);
  writeFileSync(join(config, 'projects'), 'not a directory');
  await catalog.delete('n8n', id);
  t.equal(await store.read(id), undefined);
});

t.test('a directory that a session uses whose record is not in memory is kept', async (t) => {
  // With one record in memory, the session that continues in the directory, as after `/clear`, is not there.
  const { own, store, catalog } = await open(t, 1);
  const record = await store.read(id);
  const { working_directory } = record ?? sessionRecord();
  const next = '6f1c3b0e-6b0f-4b57-8d28-5d3c1f0f7a12';
  await store.write(sessionRecord({ id: next, working_directory }));
  t.ok(await store.read(id), 'the removed session is in memory, and only it');
  t.equal(store.size, 1);
  await catalog.delete('n8n', id);
  t.ok(existsSync(own));
  await catalog.delete('n8n', next);
  t.notOk(existsSync(own));
});
