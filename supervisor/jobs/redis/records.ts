/**
 * Reads and writes jobs in Redis.
 * Invariant: a change is compared with the revision that was read, and made again on the newer one if another replica was
 * faster.
 */
import { BerthError } from '../../../shared/errors.ts';
import { isEnd, type Job } from '../job.ts';
import type { JobKey } from '../job-store.ts';
import type { RedisConnection } from './connection.ts';
import type { Keys } from './keys.ts';
import { type Command, erase, parse, replace, type Stored, wholeFields } from './record.ts';
import { add, write } from './scripts.ts';

const waitingStates = ['scheduled', 'queued', 'running', 'parked'] as const;
/** Each lost comparison means that another change was made, so many in a row are a bug. */
const mostTries = 100;

export class Records {
  readonly #connection: RedisConnection;
  readonly #keys: Keys;
  readonly #mostWaiting: number;

  /** @param mostWaiting jobs that have not ended */
  constructor(connection: RedisConnection, keys: Keys, mostWaiting: number) {
    this.#connection = connection;
    this.#keys = keys;
    this.#mostWaiting = mostWaiting;
  }

  /**
   * Adds a job. @param more commands that run in the same step
   * @returns the id of the job that has the key already, or that of this one
   */
  async add(job: Job, key: JobKey | undefined, more: readonly Command[] = []): Promise<string> {
    const keyOf = key ? this.#keys.idempotency(job.token, key.key) : '';
    const answer = await this.#connection.script('add the job', add, [
      ...[this.#keys.job(job.id), keyOf, key?.digest ?? '', job.id, this.#mostWaiting],
      ...[waitingStates.length, ...waitingStates.map((state) => this.#keys.state(state))],
      ...flat([...replace(this.#keys, undefined, job, keyOf || undefined), ...more]),
    ]);
    if (answer === 'full') {
      throw new BerthError(
        'jobs_full',
        `cannot accept the job: ${this.#mostWaiting} jobs are waiting; try again when some have ended, or cancel some`,
        { details: { retry_after: 60 } },
      );
    }
    if (answer === 'mismatch') {
      throw new BerthError(
        'idempotency_mismatch',
        'cannot accept the job: its Idempotency-Key was used with another body; send another key',
      );
    }
    return answer === 'added' ? job.id : String(answer);
  }

  async read(id: string): Promise<Stored | undefined> {
    const fields = await this.#connection.run('read the job', (client) =>
      client.hmget(this.#keys.job(id), ...wholeFields),
    );
    return parse(fields);
  }

  /** Reads many jobs at once, without those that do not exist. */
  async readAll(
    ids: readonly string[],
    fields: readonly string[] = wholeFields,
  ): Promise<Stored[]> {
    const found = await Promise.all(
      ids.map((id) =>
        this.#connection.run('read jobs', (client) => client.hmget(this.#keys.job(id), ...fields)),
      ),
    );
    return found.flatMap((each) => parse(each) ?? []);
  }

  /**
   * Like `JobStore.update`.
   * @param more commands that run in the same step
   * @returns the job as it is afterwards, and whether it was changed
   */
  async update(
    id: string,
    change: (job: Job) => Job | undefined,
    more: (job: Job) => readonly Command[] = () => [],
  ): Promise<{ job: Job; changed: boolean } | undefined> {
    for (let tries = 0; tries < mostTries; tries++) {
      const stored = await this.read(id);
      if (!stored) return undefined;
      const job = change(stored.job);
      if (!job) return { job: stored.job, changed: false };
      const commands = [...replace(this.#keys, stored, job), ...more(job)];
      if (await this.write(stored, commands)) return { job, changed: true };
    }
    throw new BerthError(
      'job_store_unavailable',
      `cannot change the job ${id}: it was changed ${mostTries} times meanwhile; try again`,
    );
  }

  /** @returns false if the job has another revision */
  async write({ job, revision }: Stored, commands: readonly Command[]): Promise<boolean> {
    const words = [this.#keys.job(job.id), revision, ...flat(commands)];
    return (await this.#connection.script('change the job', write, words)) === 1;
  }

  /**
   * Removes an ended job. @param mayGo false keeps it
   * @returns the job that was removed; undefined if there is none, it has not ended, or it is kept
   */
  async remove(id: string, mayGo: (job: Job) => boolean = () => true): Promise<Job | undefined> {
    for (;;) {
      const stored = await this.read(id);
      if (!stored || !isEnd(stored.job.state) || !mayGo(stored.job)) return undefined;
      const key = await this.#connection.run('remove the job', (client) =>
        client.hget(this.#keys.job(id), 'key'),
      );
      if (await this.write(stored, erase(this.#keys, stored, key))) return stored.job;
    }
  }
}

/** Commands as words for the scripts. */
function flat(commands: readonly Command[]): (string | number)[] {
  return commands.flatMap((command) => [command.length, ...command]);
}
