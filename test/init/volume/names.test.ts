import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { checkVolume } from '../../../init/check.ts';
import type { Tree } from '../../../init/git/tree.ts';
import { plan, remember } from '../../../init/reconcile/plan.ts';
import { selectFiles } from '../../../init/reconcile/select.ts';
import {
  distinguishesAll,
  type Fold,
  foldOf,
  losers,
  mayCollide,
} from '../../../init/volume/names.ts';
import { testDirectory } from '../../support/directory.ts';
import { mountCareless } from '../../support/small-volume.ts';
import { captureLog, treeOf as filesOf, openHarbour, walk } from '../fixture.ts';

const careless: Fold = (path) => path.normalize('NFC').toLowerCase();
const entry = { mode: '100644', oid: 'a'.repeat(40) } as const;
const treeOf = (...paths: string[]): Tree => new Map(paths.map((path) => [path, entry]));

t.test('names that differ in case or Unicode form alone may collide', async (t) => {
  t.ok(mayCollide(['README.md', 'readme.md']));
  t.ok(mayCollide(['caf\u00e9.md', 'cafe\u0301.md']));
  t.ok(mayCollide(['Docs/a.md', 'docs/b.md']), 'also those of directories');
  t.notOk(mayCollide(['docs/a.md', 'docs/b.md', 'docs2/a.md', 'readme.md']));
});

t.test('of names that are one on the volume the first wins', async (t) => {
  const lost = losers(['b', 'B', 'D', 'd/x', 'caf\u00e9', 'cafe\u0301'], careless);
  t.strictSame(Object.fromEntries(lost), { b: 'B', 'd/x': 'D', 'caf\u00e9': 'cafe\u0301' });
});

t.test('a volume that distinguishes names by case and Unicode form gets all files', async (t) => {
  const files = { 'README.md': 'upper', 'readme.md': 'lower', 'caf\u00e9': 'C', 'cafe\u0301': 'D' };
  const harbour = await openHarbour(t, files);
  t.match(await harbour.run(), { written: 4, skipped: 0 });
  t.strictSame(harbour.tree(), files);
  t.equal(await foldOf(harbour.volume), distinguishesAll);
  t.strictSame(
    walk(harbour.volume).filter((path) => path.includes('.tmp')),
    [],
  );
});

t.test(
  'on a volume that does not distinguish names, colliding files are logged and skipped',
  async (t) => {
    const { lines, log } = captureLog();
    const selection = await selectFiles({
      commit: { tree: treeOf('README.md', 'readme.md', 'docs/a.md') },
      directory: null,
      applied: new Map(),
      fold: careless,
      symlinks: true,
      readBlob: async () => Buffer.alloc(0),
      log,
    });
    t.strictSame([...selection.wanted.keys()], ['README.md', 'docs/a.md']);
    t.match(selection, { skipped: 1 });
    t.match(lines, [{ event: 'path_skipped', path: 'readme.md', why: /its name from README\.md/ }]);
  },
);

t.test('there, a file that was renamed in case alone is not taken for two', async (t) => {
  const record = {
    version: 1 as const,
    repository: 'r',
    ref: null,
    directory: null,
    commit: 'c'.repeat(40),
    commit_text: '',
    fetched_at: '',
    entries: { 'README.md': entry, 'gone.md': entry },
  };
  const memory = remember({ applied: record, pending: undefined });
  const options = { configDirectory: join(testDirectory(t), '.'), localChanges: 'merge' as const };
  const { signal } = new AbortController();
  const steps = await plan({ ...options, fold: careless, signal }, memory, treeOf('readme.md'));
  t.strictSame(
    steps.map(({ path }) => path),
    ['readme.md', 'gone.md'],
  );
});

t.test('a real volume of that kind, without symlinks and hard links, serves as any', async (t) => {
  const harbour = await openHarbour(t, {
    'README.md': 'upper\n',
    'readme.md': 'lower\n',
    'Docs/a.md': 'a\n',
    'docs/b.md': 'b\n',
    'old.md': 'old\n',
  });
  using volume = mountCareless(harbour.directory);
  if (!volume) {
    t.pass('a real volume', { skip: 'no file system of this kind can be mounted here' });
    return;
  }
  const run = () => harbour.run({ BERTH_CONFIG_DIR: volume.path });
  t.match(await run(), { written: 4, skipped: 1 });
  const files = {
    'README.md': 'upper\n',
    'Docs/a.md': 'a\n',
    'Docs/b.md': 'b\n',
    'old.md': 'old\n',
  };
  t.strictSame(filesOf(volume.path), files);
  t.match(await run(), { volume: 'complete', written: 0, restored: 0, conflicts: 0 });
  const check = () => checkVolume(harbour.config({ BERTH_CONFIG_DIR: volume.path }));
  t.match(await check(), { exitCode: 0, text: /files +4 tracked\n/ });
  harbour.repository.commit({
    'README.md': null,
    'old.md': null,
    'OLD.md': 'old\n',
    link: { symlink: 'OLD.md' },
  });
  t.match(await run(), { written: Number, conflicts: 0, kept: 0 });
  t.match(await check(), { exitCode: 0 }, 'what it cannot hold is not missing');
  const renamed = Object.entries(filesOf(volume.path)).map(([path, text]) => [
    path.toLowerCase(),
    text,
  ]);
  t.match(Object.fromEntries(renamed), {
    'readme.md': 'lower\n',
    'docs/a.md': 'a\n',
    'docs/b.md': 'b\n',
    'old.md': 'old\n',
  });
  writeFileSync(join(volume.path, 'README.md'), 'mine\n');
  t.match(await run(), { kept: 1, conflicts: 0 });
  t.notOk(readdirSync(volume.path).some((name) => name.endsWith('.tmp')));
});
