import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { copyOpenFile, isAt, openInside } from '../../shared/open-inside.ts';
import { testDirectory } from '../support/directory.ts';

/** A directory that tools can write, beside a file that only this process may read. */
function twoDirectories(t: Test): { root: string; secret: string } {
  const place = testDirectory(t, { root: { docs: { text: 'content' } }, outside: { key: 'key' } });
  return { root: join(place, 'root'), secret: join(place, 'outside/key') };
}

t.test('a regular file is opened with its status', async (t) => {
  const { root } = twoDirectories(t);
  const opened = await openInside(root, 'docs/text');
  t.equal(opened?.status.size, 7);
  t.equal(await opened?.file.readFile('utf8'), 'content');
  await opened?.file.close();
});

t.test('what is no regular file of the directory is not opened', async (t) => {
  const { root, secret } = twoDirectories(t);
  symlinkSync(secret, join(root, 'link'));
  symlinkSync(join(secret, '..'), join(root, 'parent'));
  execFileSync('mkfifo', [join(root, 'fifo')]);
  for (const path of ['link', 'parent/key', 'fifo', 'docs', 'absent', 'docs/text/below']) {
    t.equal(await openInside(root, path), undefined, path);
  }
});

t.test('a path that leads out of the directory is not opened', async (t) => {
  const { root } = twoDirectories(t);
  t.equal(await openInside(root, '../outside/key'), undefined);
});

t.test('a file whose parent was replaced by a symlink meanwhile is not the same', async (t) => {
  const { root, secret } = twoDirectories(t);
  const status = statSync(join(root, 'docs/text'));
  t.ok(isAt(root, 'docs/text', status));
  renameSync(join(root, 'docs'), join(secret, '../docs'));
  symlinkSync(join(secret, '../docs'), join(root, 'docs'));
  t.notOk(isAt(root, 'docs/text', status), 'the inode is the same, the path has a symlink');
  t.notOk(isAt(root, 'absent', status));
});

t.test(
  'an open file is copied from its start, with its mode, and never over another',
  async (t) => {
    const { root } = twoDirectories(t);
    const opened = await openInside(root, 'docs/text');
    t.ok(opened);
    if (!opened) return;
    await opened.file.read(Buffer.alloc(3), 0, 3);
    const copy = join(root, 'copy');
    await copyOpenFile(opened, copy, 0o640);
    t.equal(readFileSync(copy, 'utf8'), 'content');
    t.equal(statSync(copy).mode & 0o777, 0o640);
    writeFileSync(copy, 'edited');
    await t.rejects(copyOpenFile(opened, copy, 0o640), { code: 'EEXIST' });
    t.equal(readFileSync(copy, 'utf8'), 'edited');
    mkdirSync(join(root, 'empty'));
    await t.rejects(copyOpenFile(opened, join(root, 'empty/absent/copy'), 0o640), {
      code: 'ENOENT',
    });
    await opened.file.close();
  },
);
