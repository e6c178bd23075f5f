/** A file system of its own: small, read-only or careless with names, for tests that run as root. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Why no file system can be mounted and no namespace made, or false: root in an ordinary container may do neither. In CI
 * that is a failure, not a reason to test less.
 */
export const cannotMount: string | false =
  process.env.CI !== 'true' &&
  (process.getuid?.() !== 0 || !mounts()) &&
  'needs root that may mount (CAP_SYS_ADMIN)';

/** Mounts a tmpfs in a namespace of its own, which goes with the process; 5 ms. */
function mounts(): boolean {
  const tried = ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', tmpdir()];
  return spawnSync('unshare', tried, { stdio: 'ignore' }).status === 0;
}

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

export interface CarelessVolume extends Disposable {
  /** Of the directory that is the volume; it belongs to 1000:1000. */
  path: string;
}

/** Commands that make one at $mount out of the image $image; which of them works, the kernel decides. */
const careless = [
  'mount -t tmpfs -o casefold,uid=1000,gid=1000 tmpfs "$mount" && mkdir "$mount/volume" && chattr +F "$mount/volume"',
  'mkfs.ext4 -q -O casefold "$image" && mount -o loop "$image" "$mount" && mkdir "$mount/volume" && chattr +F "$mount/volume"',
  'mkfs.vfat "$image" && mount -t vfat -o loop,uid=1000,gid=1000 "$image" "$mount" && mkdir "$mount/volume"',
  'mkfs.exfat "$image" && mount -t exfat -o loop,uid=1000,gid=1000 "$image" "$mount" && mkdir "$mount/volume"',
  'mkfs.exfat "$image" && device=$(losetup -f --show "$image") && mount.exfat-fuse -o uid=1000,gid=1000 "$device" "$mount"; losetup -d "$device" && mkdir "$mount/volume"',
];

/**
 * Mounts a file system that takes `A` and `a` for one name, until it is disposed of, which must be
 * before the directory goes; undefined if this machine can make none.
 */
export function mountCareless(directory: string): CarelessVolume | undefined {
  if (cannotMount) return undefined;
  const mount = join(directory, 'careless');
  const image = join(directory, 'careless.img');
  mkdirSync(mount);
  for (const command of careless) {
    writeFileSync(image, Buffer.alloc(32 * 1024 * 1024));
    const unmount = () => {
      execFileSync('umount', ['--lazy', mount], { stdio: 'ignore' });
    };
    try {
      const env = { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, mount, image };
      execFileSync('sh', ['-c', command], { env, stdio: 'ignore' });
      return { path: join(mount, 'volume'), [Symbol.dispose]: unmount };
    } catch {
      try {
        unmount();
      } catch {
        // It was not mounted.
      }
    }
  }
  return undefined;
}
