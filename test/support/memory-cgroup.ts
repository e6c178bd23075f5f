/**
 * A memory cgroup of the machine's, made for a test or a benchmark: v1 or v2, whatever is there and
 * may be written. Needs root.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const mount = '/sys/fs/cgroup';

export interface MadeCgroup {
  /** Whoever writes its pid into each of them is in it. */
  procs: readonly string[];
  /** Bytes in use, without what the kernel can take back at once. */
  workingSet: () => number;
  /** Processes that the kernel has killed in it. */
  kills: () => number;
  /** Allows so many processes and threads. */
  allowTasks: (limit: number) => void;
  /** Processes and threads in it. */
  tasks: () => number;
  /** Call it when nobody is in it any more. */
  remove: () => Promise<void>;
}

/**
 * @param limit of memory, in bytes
 * @throws Error if the machine has none, or does not let us
 */
export function makeMemoryCgroup(name: string, limit: number): MadeCgroup {
  const own = readFileSync('/proc/self/cgroup', 'utf8');
  const path = /^\d+:memory:(.*)$/m.exec(own)?.[1];
  const first = path === undefined;
  const parent = join(mount, first ? (/^0::(.*)$/m.exec(own)?.[1] ?? '/') : join('memory', path));
  const directory = join(existsSync(parent) ? parent : join(mount, first ? '' : 'memory'), name);
  mkdirSync(directory, { recursive: true });
  const files = first
    ? ['memory.max', 'memory.current', 'inactive_file', 'memory.events']
    : [
        'memory.limit_in_bytes',
        'memory.usage_in_bytes',
        'total_inactive_file',
        'memory.oom_control',
      ];
  const [limitFile = '', usage = '', inactive = '', events = ''] = files;
  writeFileSync(join(directory, limitFile), String(limit));
  const read = (file: string) => readFileSync(join(directory, file), 'utf8');
  const figure = (file: string, key: string) =>
    Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(read(file))?.[1] ?? 0);
  // v1 counts tasks in a tree of its own.
  const pids = first
    ? directory
    : join(mount, 'pids', /^\d+:pids:(.*)$/m.exec(own)?.[1] ?? '/', name);
  mkdirSync(pids, { recursive: true });
  const directories = [...new Set([directory, pids])];
  return {
    procs: directories.map((path) => join(path, 'cgroup.procs')),
    allowTasks: (most) => writeFileSync(join(pids, 'pids.max'), String(most)),
    tasks: () => Number(readFileSync(join(pids, 'pids.current'), 'utf8')),
    workingSet: () => Number(read(usage)) - figure('memory.stat', inactive),
    kills: () => figure(events, 'oom_kill'),
    remove: async () => {
      for (const path of directories) await remove(path);
    },
  };
}

async function remove(directory: string): Promise<void> {
  for (let attempt = 0; attempt < 100 && existsSync(directory); attempt++) {
    try {
      rmdirSync(directory);
    } catch {
      await delay(50);
    }
  }
}
