import { linkSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DiskUsage, type DiskUsageOptions } from '../../../supervisor/sessions/disk-usage.ts';
import { testDirectory } from '../../support/directory.ts';

function usage(path: string, changes: Partial<DiskUsageOptions> = {}): DiskUsage {
  const signal = new AbortController().signal;
  return new DiskUsage({ path, mountPoints: async () => new Set(), signal, ...changes });
}

const sizeOf = (...paths: string[]): number =>
  paths.reduce((sum, path) => sum + statSync(path).blocks * 512, 0);

function tree(t: Test): string {
  const root = join(
    testDirectory(t, { outside: { large: 'x'.repeat(200_000) }, root: {} }),
    'root',
  );
  mkdirSync(join(root, 'sub'));
  writeFileSync(join(root, 'sub/file'), 'x'.repeat(50_000));
  return root;
}

t.test('all files and directories count with their blocks on disk', async (t) => {
  const root = tree(t);
  t.equal(await usage(root).bytes(), sizeOf(root, `${root}/sub`, `${root}/sub/file`));
});

t.test('a file with two names counts once, and a symlink does not count its target', async (t) => {
  const root = tree(t);
  linkSync(`${root}/sub/file`, `${root}/second`);
  symlinkSync(`${root}/../outside`, `${root}/link`);
  const bytes = (await usage(root).bytes()) ?? 0;
  t.ok(bytes >= sizeOf(root, `${root}/sub`, `${root}/sub/file`));
  t.ok(bytes < sizeOf(`${root}/sub/file`) * 2);
});

t.test('what is mounted below does not count', async (t) => {
  const root = tree(t);
  const mountPoints = async () => new Set([`${root}/sub`]);
  t.equal(await usage(root, { mountPoints }).bytes(), sizeOf(root));
});

t.test('more files than are queried at once all count', async (t) => {
  const root = tree(t);
  const files = Array.from({ length: 100 }, (_, index) => `${root}/sub/${index}`);
  for (const file of files) writeFileSync(file, 'x'.repeat(5_000));
  t.equal(await usage(root).bytes(), sizeOf(root, `${root}/sub`, `${root}/sub/file`, ...files));
});

t.test('an absent directory has no size, and nothing is measured after the stop', async (t) => {
  const root = tree(t);
  t.equal(await usage(`${root}/absent`).bytes(), undefined);
  t.equal(await usage(root, { signal: AbortSignal.abort() }).bytes(), undefined);
});
