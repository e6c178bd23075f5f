/**
 * The name by which Redis knows this replica, which is that of its volume: the sessions are there.
 * Invariants: the name is the host name of the first pod with the volume, and later pods with the volume keep this name. A
 * text that is no name is replaced, and a file that the system refuses to read stays. Neither that nor a name that cannot be
 * written stops a start.
 */
import { join } from 'node:path';
import { messageOf, systemCode } from '../../shared/errors.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { replicaName } from '../../shared/setting-types.ts';

/** In berth's state. */
export const replicaFile = 'replica';

/** Call it with the lease on the volume. @param host the host name of this pod */
export async function nameOfReplica(
  stateDirectory: string,
  host: string,
  log: Log,
): Promise<string> {
  const path = join(stateDirectory, replicaFile);
  try {
    const content = await readFileBounded(path, 1_024).catch((error: unknown) => {
      if (systemCode(error) === undefined) return undefined;
      throw error;
    });
    const known = replicaName.safeParse(content?.toString('utf8').trim());
    if (known.success) return known.data;
    await writeFileAtomic(path, `${host}\n`, { mode: 0o600 });
  } catch (error) {
    const problem = `cannot keep the name of this replica on the volume: ${messageOf(error)}; a new pod finds its sessions only after BERTH_REPLICA_LOST, unless BERTH_REPLICA is set`;
    log.warn('replica_unnamed', problem, { path });
  }
  return host;
}
