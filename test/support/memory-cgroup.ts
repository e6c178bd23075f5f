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
  const { second, memory: parent, pids: parentOfTasks } = directoriesOf('self');
  const directory = join(existsSync(parent) ? parent : join(mount, second ? '' : 'memory'), name);
  const pids = second ? directory : join(parentOfTasks, name);
  for (const path of [directory, pids]) mkdirSync(path, { recursive: true });
  const limitFile = second ? 'memory.max' : 'memory.limit_in_bytes';
  writeFileSync(join(directory, limitFile), String(limit));
  if (second) asTheKubelet(directory);
  return open({ second, memory: directory, pids });
}

/** The kernel kills all processes together, and none of them is swapped. */
function asTheKubelet(directory: string): void {
  writeFileSync(join(directory, 'memory.oom.group'), '1');
  const swap = join(directory, 'memory.swap.max');
  if (existsSync(swap)) writeFileSync(swap, '0');
}

/** That of a process, which somebody else has made and will remove. */
export function memoryCgroupOf(pid: number): MadeCgroup {
  return { ...open(directoriesOf(pid)), remove: async () => {} };
}

interface Directories {
  /** cgroup v2. */
  second: boolean;
  memory: string;
  /** Where tasks are counted: v1 has a tree of its own for them. */
  pids: string;
}

function directoriesOf(pid: number | 'self'): Directories {
  const own = readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  const first = (controller: string) => new RegExp(`^\\d+:${controller}:(.*)$`, 'm').exec(own)?.[1];
  const memory = first('memory');
  const unified = join(mount, /^0::(.*)$/m.exec(own)?.[1] ?? '/');
  if (memory === undefined) return { second: true, memory: unified, pids: unified };
  const pids = join(mount, 'pids', first('pids') ?? '/');
  return { second: false, memory: join(mount, 'memory', memory), pids };
}

function open({ second, memory: directory, pids }: Directories): MadeCgroup {
  const files = second
    ? ['memory.current', 'inactive_file', 'memory.events']
    : ['memory.usage_in_bytes', 'total_inactive_file', 'memory.oom_control'];
  const [usage = '', inactive = '', events = ''] = files;
  const read = (file: string) => readFileSync(join(directory, file), 'utf8');
  const figure = (file: string, key: string) =>
    Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(read(file))?.[1] ?? 0);
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
