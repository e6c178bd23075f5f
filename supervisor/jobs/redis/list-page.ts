/**
 * A page of the list of jobs.
 * Invariant: pages go from the newest job to the oldest by id, so that a job is on one page, however many jobs come and go
 * between two pages.
 */
import { BerthError } from '../../../shared/errors.ts';
import type { Job } from '../job.ts';
import type { JobPage, JobQuery } from '../job-store.ts';
import type { RedisConnection } from './connection.ts';
import type { Keys } from './keys.ts';
import { listFields } from './record.ts';
import type { Records } from './records.ts';

const batch = 200;

export async function listPage(
  connection: RedisConnection,
  keys: Keys,
  records: Records,
  query: JobQuery,
): Promise<JobPage> {
  const { limit, cursor } = query;
  if (cursor !== undefined && !/^[\w-]{1,100}$/.test(cursor)) {
    throw new BerthError(
      'invalid_request',
      'cannot list the jobs: the cursor is not one of a page before; begin without a cursor',
    );
  }
  const sets = await setsOf(connection, keys, query);
  const jobs: Job[] = [];
  let before = cursor;
  for (;;) {
    const ids = await newest(connection, sets, before);
    for (const { job } of await records.readAll(ids, listFields)) {
      if (!matches(job, query)) continue;
      // One more job than fits shows that there is another page.
      if (jobs.length === limit) return { jobs, cursor: jobs.at(-1)?.id ?? null };
      jobs.push(job);
    }
    if (ids.length < batch) return { jobs, cursor: null };
    before = ids.at(-1);
  }
}

/** The smallest sets that have all jobs of the query. */
async function setsOf(
  connection: RedisConnection,
  keys: Keys,
  { token, states, parked }: JobQuery,
): Promise<string[]> {
  if (parked !== undefined) {
    const [count, known] = await connection.run('list the jobs', (client) =>
      Promise.all([client.hget(keys.reasons, parked), client.zcard(keys.parkedFor(parked))]),
    );
    // A replica of an earlier version parks jobs without this set.
    return [known < Number(count ?? 0) ? keys.state('parked') : keys.parkedFor(parked)];
  }
  if (states) return states.map((state) => keys.state(state));
  return [token === undefined ? keys.all : keys.token(token)];
}

/** The newest ids of the sets before an id. */
async function newest(
  connection: RedisConnection,
  sets: readonly string[],
  before: string | undefined,
): Promise<string[]> {
  const found = await connection.run('list the jobs', (client) =>
    Promise.all(
      sets.map((set) =>
        client.zrevrangebylex(
          set,
          before === undefined ? '+' : `(${before}`,
          '-',
          'LIMIT',
          0,
          batch,
        ),
      ),
    ),
  );
  return [...new Set(found.flat())].sort((left, right) => (left < right ? 1 : -1)).slice(0, batch);
}

function matches(job: Job, { token, states, parked, profile, metadata = {} }: JobQuery): boolean {
  return (
    (token === undefined || job.token === token) &&
    (states === undefined || states.includes(job.state)) &&
    (parked === undefined || job.parked?.reason === parked) &&
    (profile === undefined || job.profile === profile) &&
    Object.entries(metadata).every(([name, value]) => job.metadata[name] === value)
  );
}
