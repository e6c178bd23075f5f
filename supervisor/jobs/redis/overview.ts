/** The numbers of jobs, for the metrics and /v1/status. */
import { type JobState, jobTransitions } from '../job.ts';
import type { JobCounts } from '../job-store.ts';
import type { RedisConnection } from './connection.ts';
import type { Keys } from './keys.ts';

export function countJobs(connection: RedisConnection, keys: Keys): Promise<JobCounts> {
  const states = Object.keys(jobTransitions) as JobState[];
  return connection.run('count the jobs', async (client) => {
    const [sizes, reasons, queued, pending, since] = await Promise.all([
      Promise.all(states.map((state) => client.zcard(keys.state(state)))),
      client.hgetall(keys.reasons),
      firstScore(connection, keys.queued),
      client.zcard(keys.callbacksSince),
      firstScore(connection, keys.callbacksSince),
    ]);
    const byState = Object.fromEntries(states.map((state, index) => [state, sizes[index] ?? 0]));
    const parked = Object.entries(reasons).map(
      ([reason, count]) => [reason, Number(count)] as const,
    );
    return {
      byState: byState as Record<JobState, number>,
      parked: Object.fromEntries(parked.filter(([, count]) => count > 0)),
      oldestQueued: queued ?? null,
      callbacks: { pending, oldest: since ?? null },
    };
  });
}

/** The smallest score of a sorted set; undefined if it is empty. */
export async function firstScore(
  connection: RedisConnection,
  key: string,
): Promise<number | undefined> {
  const [, score] = await connection.run('search for the next job', (client) =>
    client.zrange(key, 0, 0, 'WITHSCORES'),
  );
  return score === undefined ? undefined : Number(score);
}
