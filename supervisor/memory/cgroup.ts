/**
 * The container's memory as its cgroup tells it, v2 or v1.
 * Working set = usage less inactive file pages: what the kubelet evicts by. All figures in bytes.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface ContainerMemory {
  /** Undefined if there is no limit. */
  limit: number | undefined;
  workingSet: number;
}

interface Layout {
  directory: string;
  usage: string;
  limit: string;
  inactive: RegExp;
}

const layouts: readonly Layout[] = [
  {
    directory: '',
    usage: 'memory.current',
    limit: 'memory.max',
    inactive: /^inactive_file (\d+)$/m,
  },
  {
    directory: 'memory',
    usage: 'memory.usage_in_bytes',
    limit: 'memory.limit_in_bytes',
    inactive: /^total_inactive_file (\d+)$/m,
  },
];

/** cgroup v1 writes "no limit" as a number near 2^63. */
const unlimited = 2 ** 60;

/**
 * @param root where the container's own cgroup is mounted, `/sys/fs/cgroup` in a container
 * @returns undefined if there is no memory cgroup
 */
export async function readContainerMemory(root: string): Promise<ContainerMemory | undefined> {
  for (const { directory, usage, limit, inactive } of layouts) {
    const read = (name: string) => readFile(join(root, directory, name), 'utf8');
    try {
      const [used, bound, statistics] = await Promise.all([
        read(usage),
        read(limit),
        read('memory.stat'),
      ]);
      const bytes = Number(bound);
      const reclaimable = Number(inactive.exec(statistics)?.[1] ?? 0);
      return {
        limit: Number.isFinite(bytes) && bytes < unlimited ? bytes : undefined,
        workingSet: Math.max(0, Number(used) - reclaimable),
      };
    } catch {
      // Not this layout.
    }
  }
  return undefined;
}
