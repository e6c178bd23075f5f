/** What a container of cgroup v2 is to its processes, and what the kernel reports about it. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { MadeCgroup } from '../support/memory-cgroup.ts';

/**
 * Runs the command after it in cgroup and mount namespaces: the container's cgroup is the root of the mount.
 * An absolute path, because the shell of busybox prefers its own `unshare`, which has no cgroup namespaces.
 */
export const inContainer: readonly string[] = [
  ...['/usr/bin/unshare', '--cgroup', '--mount', '/bin/sh', '-c'],
  ...['umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"', 'container'],
];

/** The kernel's own figures: kills, stalls in microseconds, swap and peak in bytes. */
export function kernelFigures(cgroup: MadeCgroup): Record<string, number> {
  const directory = dirname(cgroup.procs[0] ?? '');
  const read = (file: string) => readFileSync(join(directory, file), 'utf8');
  const events = Object.fromEntries(
    [...read('memory.events').matchAll(/^(\w+) (\d+)$/gm)].map(([, key, value]) => [
      `events ${key}`,
      Number(value),
    ]),
  );
  const stalls = Object.fromEntries(
    [...read('memory.pressure').matchAll(/^(\w+) .*total=(\d+)$/gm)].map(([, key, value]) => [
      `stalled µs, ${key}`,
      Number(value),
    ]),
  );
  return {
    ...events,
    ...stalls,
    'oom.group': Number(read('memory.oom.group')),
    swapped: Number(read('memory.swap.current')),
    // Since Linux 5.19.
    peak: Number(read('memory.peak')),
  };
}
