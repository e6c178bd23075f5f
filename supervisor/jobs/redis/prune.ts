/** Removes the oldest ended jobs that are too old, too many or too large. A job whose callback is due stays until it is old. */
import { callbackDueAt } from '../due.ts';
import type { EndState } from '../job.ts';
import type { PruneOptions } from '../job-store.ts';
import type { RedisConnection } from './connection.ts';
import type { Keys } from './keys.ts';
import type { Records } from './records.ts';

/** @returns the removed jobs */
export async function prune(
  connection: RedisConnection,
  keys: Keys,
  records: Records,
  options: PruneOptions,
): Promise<{ id: string; state: EndState }[]> {
  const removed: { id: string; state: EndState }[] = [];
  // The number of jobs that stay although they are among the oldest: their callbacks are to be delivered.
  let kept = 0;
  for (;;) {
    const { id, isOld, isOver } = await oldest(connection, keys, kept, options);
    if (id === undefined || !(isOld || isOver)) return removed;
    const job = await records.remove(id, (found) => isOld || callbackDueAt(found) === undefined);
    if (job) removed.push({ id, state: job.state as EndState });
    else kept++;
  }
}

/** The oldest ended job after so many others. */
async function oldest(
  connection: RedisConnection,
  keys: Keys,
  after: number,
  { endedBefore, mostJobs, mostBytes }: PruneOptions,
) {
  const [[id, endedAt], count, bytes] = await connection.run('prune jobs', (client) =>
    Promise.all([
      client.zrange(keys.ended, after, after, 'WITHSCORES'),
      client.zcard(keys.ended),
      client.get(keys.endedBytes),
    ]),
  );
  return {
    id,
    isOld: Number(endedAt) < endedBefore,
    isOver: count > mostJobs || Number(bytes ?? 0) > mostBytes,
  };
}
