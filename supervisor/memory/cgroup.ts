/**
 * Reads the memory accounting of the container: finds the cgroup that limits it (v2 or v1). Working
 * set = usage less inactive file pages: the figure by which the kubelet evicts. All figures in
 * bytes. Reads are synchronous, as in process-table.ts: the kernel answers from memory, and a
 * promise would wait behind the files of others.
 * Invariant: a missing or unreadable file is an unknown figure, never an error.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface MemoryCgroup {
  version: 1 | 2;
  /** The cgroup of this process, or the parent with the lowest limit. */
  directory: string;
  /** The directory where processes are counted; undefined if they are not counted. */
  pids: string | undefined;
}

export interface ContainerMemory {
  /** Undefined if there is no limit. */
  limit: number | undefined;
  workingSet: number;
  /** Memory in use that the kernel can reclaim. */
  reclaimable: number;
  /**
   * Processes that the kernel killed for lack of memory; undefined if the kernel does not report
   * it.
   */
  oomKills: number | undefined;
  /**
   * cgroup v2 only: percent of the last ten seconds in which some, or all, tasks waited for memory.
   */
  stalled: { some: number; full: number } | undefined;
  /** The number of tasks and its limit; undefined if tasks are not counted or not limited. */
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
 * Finds the cgroup. In a container the root is the container's own cgroup; elsewhere the process is
 * in a cgroup below.
 * @param root where cgroups are mounted
 * @param proc where procfs is mounted
 * @returns undefined if there is no memory cgroup
 */
export function findMemoryCgroup(
  root = '/sys/fs/cgroup',
  proc = '/proc',
): MemoryCgroup | undefined {
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

/** Undefined if the cgroup does not exist any more or is unreadable. */
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
  // v1 reports limits of parents here that are not visible from inside.
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

/** All memory in use, including reclaimable memory; reads a single small file. */
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

/** The existing directory with the lowest limit; among equals the nearest. */
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

/**
 * The path of the cgroup. `own` is the text of /proc/self/cgroup: `4:memory:/path`, on v2
 * `0::/path`.
 */
function pathIn(own: string, version: 1 | 2, controller: string): string {
  for (const line of own.split('\n')) {
    const [id, controllers = '', ...path] = line.split(':');
    const here = version === 2 ? id === '0' : controllers.split(',').includes(controller);
    if (here) return path.join(':');
  }
  return '/';
}

/** The directories from the deepest up to the mount. Above the mount nothing is visible. */
function upwards(mount: string, path: string): string[] {
  const directories: string[] = [];
  const inside = path.startsWith('/') && !path.split('/').includes('..');
  for (let at = inside ? path : '/'; at !== '/'; at = dirname(at)) {
    directories.push(join(mount, at));
  }
  return [...directories, mount];
}

/** The number in a file; undefined for `max` or other text. */
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
