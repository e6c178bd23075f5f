/** Reconciling while a session edits: the edit happens in the middle of the run. */
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LargeFiles } from '../../../init/git/large-object.ts';
import { objectId } from '../../../init/git/pack-format.ts';
import { reconcile } from '../../../init/reconcile/worktree.ts';
import { inspectVolume } from '../../../init/volume/volume.ts';
import { openAside } from '../../../shared/set-aside.ts';
import { testDirectory } from '../../support/directory.ts';
import { cannotMount, mountSmall } from '../../support/small-volume.ts';
import { captureLog, conflictsIn, walk } from '../fixture.ts';

/** A volume to which `sync` writes files; `during` happens after the plan and before a write. */
function openVolume(t: Test) {
  const configDirectory = join(testDirectory(t), 'volume');
  const stateDirectory = join(configDirectory, '.berth');
  mkdirSync(join(stateDirectory, 'conflicts'), { recursive: true });
  const place = { configDirectory, stateDirectory, repository: 'https://example.test/a/b' };
  const wanted = { ...place, ref: undefined, directory: undefined };
  const sync = async (
    files: Record<string, string>,
    during: () => void = () => undefined,
    largeFiles = new LargeFiles(),
  ) => {
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
      largeFiles,
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

t.test('a large file that a sync does not move is removed with the others', async (t) => {
  const { sync } = openVolume(t);
  const path = join(testDirectory(t), 'received');
  writeFileSync(path, 'large\n');
  const { ino, size } = statSync(path);
  const largeFiles = new LargeFiles();
  largeFiles.add(objectId('blob', Buffer.from('large\n')), { path, inode: ino, size });
  await sync({ 'a.md': 'large\n' }, undefined, largeFiles);
  largeFiles.clear();
  t.notOk(existsSync(path));
});

const secret = 'github_pat_of_init';

/** Files that only init sees, on another file system, and a tool that leads a directory there. */
function mountSecrets(t: Test, volume: string) {
  const directory = testDirectory(t, {});
  const mounted = mountSmall(directory, 'size=1m');
  writeFileSync(join(directory, 'git-token'), secret);
  return {
    token: join(directory, 'git-token'),
    lead: (name: string) => {
      renameSync(join(volume, name), join(volume, 'elsewhere'));
      symlinkSync(directory, join(volume, name));
    },
    [Symbol.dispose]: () => mounted[Symbol.dispose](),
  };
}

/** The files of the volume that have the secret; a symlink is not followed. */
function copiesIn(volume: string): string[] {
  return walk(volume).filter((path) => {
    const full = join(volume, path);
    return lstatSync(full).isFile() && readFileSync(full, 'utf8').includes(secret);
  });
}

const skip = cannotMount;

t.test('a directory that leads to a secret during a sync: no copy is kept', { skip }, async (t) => {
  const { volume, sync } = openVolume(t);
  using secrets = mountSecrets(t, volume);
  await sync({ 'd/git-token': 'one\n' });
  await sync({ 'd/git-token': 'two\n' }, () => secrets.lead('d'));
  t.strictSame(copiesIn(volume), []);
  t.equal(readFileSync(join(volume, 'd/git-token'), 'utf8'), 'two\n');
  t.equal(readFileSync(secrets.token, 'utf8'), secret);
});

t.test('a removed file in such a directory: no copy is saved', { skip }, async (t) => {
  const { volume, sync } = openVolume(t);
  using secrets = mountSecrets(t, volume);
  await sync({ 'a.md': 'a\n', 'd/git-token': 'one\n' });
  const removal = sync({ 'a.md': 'a two\n' }, () => secrets.lead('d'));
  await t.rejects(removal, { code: 'volume_unwritable', message: 'a symlink or a mount' });
  t.strictSame(copiesIn(volume), []);
  t.equal(readFileSync(secrets.token, 'utf8'), secret);
  await sync({ 'a.md': 'a two\n' });
});

t.test('the mode of a file elsewhere does not change', async (t) => {
  const { volume, sync } = openVolume(t);
  const elsewhere = testDirectory(t, { run: 'other' });
  chmodSync(join(elsewhere, 'run'), 0o700);
  await sync({ 'a.md': 'a\n', 'd/run': 'run\n' });
  chmodSync(join(volume, 'd/run'), 0o755);
  await sync({ 'a.md': 'a two\n', 'd/run': 'run\n' }, () => {
    renameSync(join(volume, 'd'), join(volume, 'e'));
    symlinkSync(elsewhere, join(volume, 'd'));
  });
  t.equal(statSync(join(elsewhere, 'run')).mode & 0o777, 0o700);
});
