import { chmodSync, existsSync, linkSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { removeTree, sizeOfTree } from '../../shared/remove-tree.ts';
import { testDirectory } from '../support/directory.ts';

t.test('a tree is removed with its read-only content; an absent one is no error', async (t) => {
  const root = testDirectory(t, { tree: { deep: { file: 'text' } } });
  const tree = join(root, 'tree');
  chmodSync(join(tree, 'deep'), 0o500);
  chmodSync(tree, 0o500);
  await removeTree(tree);
  t.notOk(existsSync(tree));
  await removeTree(tree);
});

t.test('a symlink is removed, and what it leads to stays', async (t) => {
  const root = testDirectory(t, { kept: { file: 'text' }, tree: {} });
  symlinkSync(join(root, 'kept'), join(root, 'tree/link'));
  symlinkSync(join(root, 'kept'), join(root, 'link'));
  await removeTree(join(root, 'tree'));
  await removeTree(join(root, 'link'));
  t.ok(existsSync(join(root, 'kept/file')));
  t.notOk(existsSync(join(root, 'link')));
});

t.test('the size of a tree is its blocks on disk, without what symlinks lead to', async (t) => {
  const root = testDirectory(t, { outside: { large: 'x'.repeat(100_000) }, tree: { sub: {} } });
  const tree = join(root, 'tree');
  writeFileSync(join(tree, 'sub/file'), 'x'.repeat(50_000));
  const blocks = [tree, join(tree, 'sub'), join(tree, 'sub/file')].map((path) => statSync(path));
  const own = blocks.reduce((sum, { blocks }) => sum + blocks * 512, 0);
  t.equal(await sizeOfTree(tree), own);
  symlinkSync(join(root, 'outside'), join(tree, 'link'));
  t.ok((await sizeOfTree(tree)) - own < 50_000);
  t.equal(await sizeOfTree(join(root, 'absent')), 0);
});

t.test('a file with two names counts by its share, or in full on request', async (t) => {
  const root = testDirectory(t, { one: 'x'.repeat(50_000) });
  const one = join(root, 'one');
  const whole = await sizeOfTree(one);
  linkSync(one, join(root, 'two'));
  t.equal(await sizeOfTree(one), whole / 2);
  t.equal(await sizeOfTree(one, undefined, 'whole'), whole);
});

t.test('a measurement that is aborted ends with the reason', async (t) => {
  const root = testDirectory(t, { tree: { file: 'text' } });
  await t.rejects(sizeOfTree(root, AbortSignal.abort(new Error('enough'))), { message: 'enough' });
});
