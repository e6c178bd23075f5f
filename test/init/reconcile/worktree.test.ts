/** Reconciling while a session edits: the edit happens in the middle of the run. */
import { appendFileSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { objectId } from '../../../init/git/pack-format.ts';
import { reconcile } from '../../../init/reconcile/worktree.ts';
import { inspectVolume } from '../../../init/volume/volume.ts';
import { openAside } from '../../../shared/set-aside.ts';
import { testDirectory } from '../../support/directory.ts';
import { captureLog, conflictsIn } from '../fixture.ts';

/** A volume to which `sync` writes files; `during` happens after the plan and before a write. */
function openVolume(t: Test) {
  const configDirectory = join(testDirectory(t), 'volume');
  const stateDirectory = join(configDirectory, '.berth');
  mkdirSync(join(stateDirectory, 'conflicts'), { recursive: true });
  const place = { configDirectory, stateDirectory, repository: 'https://example.test/a/b' };
  const wanted = { ...place, ref: undefined, directory: undefined };
  const sync = async (files: Record<string, string>, during: () => void = () => undefined) => {
    const blobs = new Map(
      Object.values(files).map((text) => [objectId('blob', Buffer.from(text)), text]),
    );
    const entries = Object.entries(files).map(([path, text]) => {
      return [path, { mode: '100644', oid: objectId('blob', Buffer.from(text)) }] as const;
    });
    const { counts } = await reconcile({
      ...wanted,
      ...(await inspectVolume(wanted)),
      localChanges: 'merge',
      invalidSettings: 'keep',
      fetchedAt: new Date(),
      commit: {
        id: objectId('commit', Buffer.from(JSON.stringify(files))),
        text: Buffer.from('text'),
        tree: new Map(entries),
      },
      readBlob: async (oid) => {
        during();
        return Buffer.from(blobs.get(oid) ?? '');
      },
      conflicts: openAside(join(stateDirectory, 'conflicts'), 'init'),
      lease: { assertHeld: async () => undefined },
      signal: new AbortController().signal,
      log: captureLog().log,
      live: { isGood: () => true },
    });
    return counts;
  };
  return { volume: configDirectory, sync };
}

t.test('an edit of an unchanged file during a sync is known to the next sync', async (t) => {
  const { volume, sync } = openVolume(t);
  await sync({ 'a.md': 'one\n', 'b.md': 'b\n' });
  await sync({ 'a.md': 'one\n', 'b.md': 'b two\n' }, () => {
    appendFileSync(join(volume, 'a.md'), 'mine\n');
  });
  t.match(await sync({ 'a.md': 'two\n', 'b.md': 'b two\n' }), { conflicts: 1 });
  t.strictSame(conflictsIn(volume), ['a.md'], 'the base is unknown here, so the edit is saved');
});

t.test('the removal of an unchanged file during a sync does not fail the sync', async (t) => {
  const { volume, sync } = openVolume(t);
  await sync({ 'a.md': 'a\n', 'b.md': 'b\n' });
  await sync({ 'a.md': 'a\n', 'b.md': 'b two\n' }, () => rmSync(join(volume, 'a.md')));
  t.notOk(statSync(join(volume, '.berth/pending.json'), { throwIfNoEntry: false }));
  t.match(await sync({ 'a.md': 'a\n', 'b.md': 'b two\n' }), { restored: 1 });
});
