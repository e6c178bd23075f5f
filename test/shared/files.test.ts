import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  inside,
  makeDirectories,
  makeDirectoriesSync,
  obstructedParent,
  readFileBounded,
  unwritable,
  writeFileAtomic,
} from '../../shared/files.ts';
import { testDirectory } from '../support/directory.ts';
import { cannotMount } from '../support/small-volume.ts';

t.test('a file is replaced as a whole and gets its mode, whatever the umask', async (t) => {
  const directory = testDirectory(t, { file: 'old' });
  const path = join(directory, 'file');
  const umask = process.umask(0o077);
  await writeFileAtomic(path, 'new', { mode: 0o755 });
  process.umask(umask);
  t.equal(readFileSync(path, 'utf8'), 'new');
  t.equal(statSync(path).mode & 0o777, 0o755);
  t.strictSame(readdirSync(directory), ['file'], 'no temporary file is left');
});

t.test('missing parents are made', async (t) => {
  const path = join(testDirectory(t), 'a/b/file');
  await writeFileAtomic(path, Buffer.from('x'));
  t.equal(readFileSync(path, 'utf8'), 'x');
});

t.test('until the last moment the old file is there, and if that fails, it stays', async (t) => {
  const directory = testDirectory(t, { file: 'old' });
  const path = join(directory, 'file');
  await t.rejects(
    writeFileAtomic(path, 'new', {
      beforeRename: async () => {
        t.equal(readFileSync(path, 'utf8'), 'old');
        throw new Error('stop');
      },
    }),
    { code: 'volume_unwritable' },
  );
  t.equal(readFileSync(path, 'utf8'), 'old');
  t.strictSame(readdirSync(directory), ['file']);
});

t.test('if the cleanup also fails, the first error is reported', async (t) => {
  const path = join(testDirectory(t, { parent: 'a file' }), 'parent/file');
  await t.rejects(writeFileAtomic(path, 'new'), {
    code: 'volume_unwritable',
    message: /^cannot write .*parent\/file: /,
    cause: { code: 'EEXIST' },
  });
});

t.test('a symlink is replaced, not followed', async (t) => {
  const directory = testDirectory(t, { victim: 'victim' });
  symlinkSync('victim', join(directory, 'link'));
  await writeFileAtomic(join(directory, 'link'), 'new');
  t.equal(readFileSync(join(directory, 'victim'), 'utf8'), 'victim');
  t.equal(readFileSync(join(directory, 'link'), 'utf8'), 'new');
});

t.test('each cause of a failed write has its remedy', async (t) => {
  const remedy = (code: string) =>
    unwritable('/v/x', Object.assign(new Error('cause'), { code })).message;
  t.match(remedy('ENOSPC'), /cannot write \/v\/x: cause; the disk is full/);
  t.match(remedy('EROFS'), /mounted read-only/);
  t.match(remedy('EACCES'), /fsGroup/);
  t.match(remedy('EDQUOT'), /quota/);
  t.match(remedy('EIO'), /see the cause/);
});

t.test('reading is bounded, and takes only regular files', async (t) => {
  const directory = testDirectory(t, { file: 'content', directory: {} });
  const path = (name: string) => join(directory, name);
  t.equal((await readFileBounded(path('file'), 7))?.toString(), 'content');
  t.equal(await readFileBounded(path('none'), 7), undefined);
  await t.rejects(readFileBounded(path('file'), 6), { message: /larger than 6 bytes/ });
  await t.rejects(readFileBounded(path('directory'), 7), { message: /not a regular file/ });
  symlinkSync('file', path('link'));
  await t.rejects(readFileBounded(path('link'), 7), { message: /is a symlink/ });
  execFileSync('mkfifo', [path('fifo')]);
  await t.rejects(readFileBounded(path('fifo'), 7), { message: /not a regular file/ });
});

t.test('a path that leaves its root is refused', async (t) => {
  t.equal(inside('/root', 'a/b'), '/root/a/b');
  for (const path of [
    '..',
    '../x',
    'a/../../x',
    'a/..',
    '/x',
    '',
    '.',
    './a',
    'a//b',
    'a\\b',
    'a\0',
  ]) {
    t.throws(() => inside('/root', path), { message: /is not inside/ }, JSON.stringify(path));
  }
});

t.test('the first parent that is no directory is found', async (t) => {
  const root = testDirectory(t, { real: { deep: {} }, file: 'x' });
  symlinkSync('real', join(root, 'link'));
  t.equal(await obstructedParent(root, 'real/deep/x'), undefined);
  t.equal(await obstructedParent(root, 'none/at/all'), undefined);
  t.equal(await obstructedParent(root, 'link/deep/x'), 'link');
  t.equal(await obstructedParent(root, 'file/x/y'), 'file');
  t.equal(await obstructedParent(root, 'file'), undefined, 'the path itself does not count');
});

t.test('a write that is killed leaves the old file', async (t) => {
  const directory = testDirectory(t, { file: 'old' });
  const path = join(directory, 'file');
  const script = `
    import { writeFileAtomic } from ${JSON.stringify(join(import.meta.dirname, '../../shared/files.ts'))};
    await writeFileAtomic(${JSON.stringify(path)}, 'new', { beforeRename: () => process.kill(process.pid, 'SIGKILL') });
  `;
  t.throws(() => execFileSync(process.execPath, ['--input-type=module', '-e', script]));
  t.equal(readFileSync(path, 'utf8'), 'old');
  mkdirSync(join(directory, 'x'));
  t.ok(existsSync(path));
  writeFileSync(path, 'old');
});

for (const [kind, make] of Object.entries({
  'with a promise': makeDirectories,
  'without a promise': async (path: string, mode?: number) => makeDirectoriesSync(path, mode),
})) {
  t.test(`directories are made with the missing ones above them, ${kind}`, async (t) => {
    const directory = testDirectory(t, { file: '' });
    const path = join(directory, 'a/b/c');
    await make(path, 0o700);
    await make(path, 0o700);
    for (const each of ['a', 'a/b', 'a/b/c']) {
      t.equal(statSync(join(directory, each)).mode & 0o777, 0o700, each);
    }
    await t.rejects(make(join(directory, 'file')), { code: 'EEXIST' });
    await t.rejects(make(join(directory, 'file/below')), { code: 'ENOTDIR' });
  });

  t.test(
    `in a volume that was removed no directory can be made, and the attempt ends, ${kind}`,
    { skip: cannotMount },
    async (t) => {
      const root = testDirectory(t, { removed: {}, volume: {} });
      const volume = join(root, 'volume');
      execFileSync('mount', ['--bind', join(root, 'removed'), volume]);
      using _mount = {
        [Symbol.dispose]: () => void execFileSync('umount', ['--lazy', volume]),
      };
      rmSync(join(root, 'removed'), { recursive: true });
      await t.rejects(make(join(volume, 'a/b/c')), { code: 'ENOENT' });
    },
  );
}
