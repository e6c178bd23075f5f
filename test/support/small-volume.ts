/** A file system of its own that is small or read-only, for tests that run as root. */
import { execFileSync } from 'node:child_process';

export const canMount = process.getuid?.() === 0 && process.platform === 'linux';

export interface SmallVolume extends Disposable {
  /** Changes its options, for example to `remount,size=10m`. */
  mount(options: string): void;
}

/**
 * Mounts a tmpfs at `directory` until it is disposed of, which must be before the directory goes.
 * @param options as mount(8) has them: `size=1m`, `nr_inodes=100`
 */
export function mountSmall(directory: string, options: string): SmallVolume {
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory]);
  return {
    mount: (changed) => void execFileSync('mount', ['-o', changed, directory]),
    [Symbol.dispose]: () => void execFileSync('umount', ['--lazy', directory]),
  };
}
