/** Reads the container's memory once, for `berth doctor`. */
import { type ContainerMemory, findMemoryCgroup, readContainerMemory } from './cgroup.ts';

/** Undefined if there is no memory cgroup. */
export async function lookAtMemory(root = '/sys/fs/cgroup'): Promise<ContainerMemory | undefined> {
  const cgroup = await findMemoryCgroup(root);
  return cgroup && (await readContainerMemory(cgroup));
}
