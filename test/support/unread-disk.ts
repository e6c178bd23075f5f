/** A file whose content the disk cannot read, for tests that run as root. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

/** Replaces the file at `path` until it is disposed of: to open it succeeds, to read it is `EIO`. */
export function mountUnread(path: string): Disposable {
  writeFileSync(path, '');
  // No memory of a process begins at the address 0.
  execFileSync('mount', ['--bind', `/proc/${process.pid}/mem`, path]);
  return { [Symbol.dispose]: () => void execFileSync('umount', ['--lazy', path]) };
}
