/**
 * Where the container's memory is accounted: finds the cgroup that binds, v2 or v1, and what it says.
 * Working set = usage less inactive file pages: what the kubelet evicts by. All figures in bytes.
 * Read at once and synchronously, as process-table.ts does: the kernel answers from memory, and a
 * promise would wait for its turn behind the files of others.
 * Always holds: a file that is missing or unreadable is an unknown figure, never an error.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface MemoryCgroup {
  version: 1 | 2;
  /** The process's own cgroup, or the one above it that has the lowest limit. */
  directory: string;
  /** Where its processes are counted, if they are. */
  pids: string | undefined;
}

export interface ContainerMemory {
  /** Undefined if there is no limit. */
  limit: number | undefined;
  workingSet: number;
  /** What is used besides, until the kernel wants it back. */
  reclaimable: number;
  /** Processes that the kernel has killed here for want of memory; undefined if it does not tell. */
  oomKills: number | undefined;
  /** v2 alone: percent of the last ten seconds in which some, or all, had to wait for memory. */
  stalled: { some: number; full: number } | undefined;
  /** Tasks there are, and how many there may be; undefined if they are not counted or not bounded. */
  tasks: { current: number; limit: number } | undefined;
}

const files = {
  1: {
    usage: 'memory.usage_in_bytes',
    limit: 'memory.limit_in_bytes',
    inactive: /^total_inactive_file (\d+)$/m,
    events: 'memory.oom_control',
  },
  2: {
    usage: 'memory.current',
    limit: 'memory.max',
    inactive: /^inactive_file (\d+)$/m,
    events: 'memory.events',
  },
} as const;

/** cgroup v1 writes "no limit" as a number near 2^63. */
const unlimited = 2 ** 60;

/**
 * In a container the root is the container's own cgroup; elsewhere the process is somewhere below.
 * @param root where cgroups are mounted, `/sys/fs/cgroup`
 * @param proc where procfs is mounted
 * @returns undefined if there is no memory cgroup
 */
export function findMemoryCgroup(root: string, proc = '/proc'): MemoryCgroup | undefined {
  const own = textOf(join(proc, 'self/cgroup')) ?? '';
  for (const version of [2, 1] as const) {
    const mount = (controller: string) => (version === 2 ? root : join(root, controller));
    const directories = upwards(mount('memory'), pathIn(own, version, 'memory'));
    const directory = binding(directories, version);
    if (directory === undefined) continue;
    const counted = upwards(mount('pids'), pathIn(own, version, 'pids'));
    return { version, directory, pids: firstBounded(counted) };
  }
  return undefined;
}

/** Undefined if it is gone, or says nothing of use. */
export function readContainerMemory({
  version,
  directory,
  pids,
}: MemoryCgroup): ContainerMemory | undefined {
  const { inactive, events } = files[version];
  const used = readUsage({ version, directory });
  const statistics = textOf(join(directory, 'memory.stat'));
  if (used === undefined || statistics === undefined) return undefined;
  const reclaimable = Number(inactive.exec(statistics)?.[1] ?? 0);
  // v1 tells here of limits above that cannot be seen from inside.
  const above = Number(/^hierarchical_memory_limit (\d+)$/m.exec(statistics)?.[1] ?? unlimited);
  const lowest = Math.min(limitOf(directory, version) ?? unlimited, above);
  const pressure = version === 2 ? textOf(join(directory, 'memory.pressure')) : undefined;
  return {
    limit: lowest < unlimited ? lowest : undefined,
    workingSet: Math.max(0, used - reclaimable),
    reclaimable,
    oomKills: figure(textOf(join(directory, events)), /^oom_kill (\d+)$/m),
    stalled: stallsIn(pressure),
    tasks: pids === undefined ? undefined : readTasks(pids),
  };
}

/** All that is used, what the kernel can take back included: a single small file. */
export function readUsage({
  version,
  directory,
}: Pick<MemoryCgroup, 'version' | 'directory'>): number | undefined {
  return numberIn(join(directory, files[version].usage));
}

function stallsIn(pressure: string | undefined): ContainerMemory['stalled'] {
  const some = figure(pressure, /^some avg10=([\d.]+)/m);
  const full = figure(pressure, /^full avg10=([\d.]+)/m);
  return some === undefined || full === undefined ? undefined : { some, full };
}

function readTasks(directory: string): ContainerMemory['tasks'] {
  const current = numberIn(join(directory, 'pids.current'));
  const limit = numberIn(join(directory, 'pids.max'));
  return current === undefined || limit === undefined ? undefined : { current, limit };
}

/** Of those that exist the one with the lowest limit, the nearest among equals. */
function binding(directories: readonly string[], version: 1 | 2): string | undefined {
  let chosen: { directory: string; limit: number } | undefined;
  for (const directory of directories) {
    if (readUsage({ version, directory }) === undefined) continue;
    const limit = limitOf(directory, version) ?? Number.POSITIVE_INFINITY;
    if (!chosen || limit < chosen.limit) chosen = { directory, limit };
  }
  return chosen?.directory;
}

function firstBounded(directories: readonly string[]): string | undefined {
  for (const directory of directories) if (readTasks(directory)) return directory;
  return undefined;
}

function limitOf(directory: string, version: 1 | 2): number | undefined {
  const limit = numberIn(join(directory, files[version].limit));
  return limit !== undefined && limit < unlimited ? limit : undefined;
}

/** `own` is the text of /proc/self/cgroup: `4:memory:/path`, on v2 `0::/path`. */
function pathIn(own: string, version: 1 | 2, controller: string): string {
  for (const line of own.split('\n')) {
    const [id, controllers = '', ...path] = line.split(':');
    const here = version === 2 ? id === '0' : controllers.split(',').includes(controller);
    if (here) return path.join(':');
  }
  return '/';
}

/** From the deepest up to the mount itself. Above the mount nothing can be seen. */
function upwards(mount: string, path: string): string[] {
  const directories: string[] = [];
  const inside = path.startsWith('/') && !path.split('/').includes('..');
  for (let at = inside ? path : '/'; at !== '/'; at = dirname(at)) {
    directories.push(join(mount, at));
  }
  return [...directories, mount];
}

/** `max` and what is no number are no figure. */
function numberIn(path: string): number | undefined {
  return figure(textOf(path), /^(\d+)\s*$/);
}

function figure(text: string | undefined, pattern: RegExp): number | undefined {
  const found = text === undefined ? undefined : pattern.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
