import {
  existsSync,
  lstatSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { moveFile } from '../../../init/reconcile/replace-file.ts';
import { testDirectory } from '../../support/directory.ts';

function layOut(t: Test) {
  const directory = testDirectory(t, { there: 'before' });
  const path = join(directory, 'tmp-0123456789ab');
  writeFileSync(path, 'content', { mode: 0o600 });
  const { ino: inode, size } = lstatSync(path);
  return { directory, to: join(directory, 'there'), file: { path, inode, size } };
}

t.test('a file takes the place of another, with its permission bits', async (t) => {
  const { to, file } = layOut(t);
  t.match(await moveFile(file, to, 0o755), { ino: file.inode, size: file.size });
  t.equal(readFileSync(to, 'utf8'), 'content');
  t.equal(lstatSync(to).mode & 0o7777, 0o755);
  t.notOk(existsSync(file.path));
});

t.test('a file that was swapped after it was prepared is not moved to its path', async (t) => {
  const swaps = {
    'another file': (path: string) => writeFileSync(`${path}.new`, 'content'),
    'a symlink': (path: string) => symlinkSync('/etc/hostname', `${path}.new`),
  };
  for (const [name, swap] of Object.entries(swaps)) {
    const { to, file } = layOut(t);
    swap(file.path);
    renameSync(`${file.path}.new`, file.path);
    t.equal(await moveFile(file, to, 0o644), undefined, name);
    t.equal(readFileSync(to, 'utf8'), 'before');
    t.notOk(existsSync(file.path));
  }
});

t.test('a failed move leaves no file', async (t) => {
  const { directory, file } = layOut(t);
  t.equal(await moveFile(file, join(directory, 'none/there'), 0o644), undefined);
  t.notOk(existsSync(file.path));
});
