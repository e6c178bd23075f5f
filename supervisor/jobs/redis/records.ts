/**
 * Reads and writes jobs in Redis.
 * Invariant: a change is compared with the revision that was read, and made again on the newer one if another replica was
 * faster. A record that cannot be read is set aside when it is found, and never blocks other jobs. An unfinished job whose
 * request is lost fails.
 */
import { BerthError, messageOf } from '../../../shared/errors.ts';
import { isEnd, type Job, jobTransitions } from '../job.ts';
import { jobsFull, keyMismatch, mostOfOneToken } from '../job-bounds.ts';
import type { JobKey } from '../job-store.ts';
import { withoutRequest } from '../lost-request.ts';
import { flawOf } from '../stored-flaw.ts';
import type { RedisConnection } from './connection.ts';
import type { Keys } from './keys.ts';
import { type Command, erase, parse, replace, type Stored, wholeFields } from './record.ts';
import { add, first, refuse, write } from './scripts.ts';

const waitingStates = ['scheduled', 'queued', 'running', 'parked'] as const;
/** Each lost comparison means that another change was made, so many in a row are a bug. */
const mostTries = 100;
const mostRefused = 1_000;

export interface RecordsOptions {
  /** The most jobs that have not ended. */
  mostWaiting: number;
  /** Called for each record that was set aside, and each job that failed because its request is lost. @param reason without stored text */
  onRefused: (id: string, reason: string) => void;
}

/** `blocked`: another job of the session is before this one. */
type Written = 'written' | 'changed' | 'blocked';

export class Records {
  readonly #connection: RedisConnection;
  readonly #keys: Keys;
  readonly #options: RecordsOptions;

  constructor(connection: RedisConnection, keys: Keys, options: RecordsOptions) {
    this.#connection = connection;
    this.#keys = keys;
    this.#options = options;
  }

  /**
   * Adds a job. @param more commands that run in the same step
   * @returns the id of the job that has the key already, or that of this one
   */
  async add(job: Job, key: JobKey | undefined, more: readonly Command[] = []): Promise<string> {
    const keys = this.#keys;
    const most = this.#options.mostWaiting;
    const mostOfToken = mostOfOneToken(most);
    const keyOf = key ? keys.idempotency(job.token, key.key) : '';
    const answer = await this.#connection.script('add the job', add, [
      ...[keys.job(job.id), keyOf, key?.digest ?? '', job.id, keys.jobs],
      ...[most, keys.unfinished(job.token), mostOfToken],
      ...[waitingStates.length, ...waitingStates.map((state) => keys.state(state))],
      ...flat([...replace(keys, undefined, job, keyOf || undefined), ...more]),
    ]);
    if (answer === 'full') throw jobsFull(most);
    if (answer === 'token full') throw jobsFull(mostOfToken, job.token);
    if (!Array.isArray(answer)) return job.id;
    const [id, digest] = answer.map(String);
    if (key && digest !== key.digest) throw keyMismatch(id ?? '');
    return id ?? job.id;
  }

  /** Like `JobStore.findByKey`. */
  async findByKey(token: string, { key, digest }: JobKey): Promise<Job | undefined> {
    const [id, known] = await this.#connection.run('search for the key', (client) =>
      client.hmget(this.#keys.idempotency(token, key), 'id', 'digest'),
    );
    const stored = id ? await this.read(id) : undefined;
    if (stored && known !== digest) throw keyMismatch(stored.job.id);
    return stored?.job;
  }

  /** The id of the job that runs next in a session, or runs. */
  async firstOf(session: string): Promise<string | undefined> {
    const keys = this.#keys;
    const id = await this.#connection.script('search for the first job of a session', first, [
      ...[keys.session(session), keys.jobs],
    ]);
    return id === null ? undefined : String(id);
  }

  /** Undefined if there is no such job, or it cannot be read. */
  read(id: string): Promise<Stored | undefined> {
    return this.#read(id, 'read the job', wholeFields);
  }

  /** Reads many jobs at once, without those that do not exist or cannot be read. */
  async readAll(
    ids: readonly string[],
    fields: readonly string[] = wholeFields,
  ): Promise<Stored[]> {
    const found = await Promise.all(ids.map((id) => this.#read(id, 'read jobs', fields)));
    return found.filter((each) => each !== undefined);
  }

  /**
   * Like `JobStore.update`.
   * @param more commands that run in the same step
   * @param isFirst changes the job only if it is the first of its session
   * @returns the job as it is afterwards, and whether it was changed
   */
  async update(
    id: string,
    change: (job: Job) => Job | undefined,
    more: (job: Job) => readonly Command[] = () => [],
    { isFirst = false } = {},
  ): Promise<{ job: Job; changed: boolean } | undefined> {
    for (let tries = 0; tries < mostTries; tries++) {
      const stored = await this.read(id);
      if (!stored) return undefined;
      const job = change(stored.job);
      if (!job) return { job: stored.job, changed: false };
      if (isEnd(stored.job.state) && !isEnd(job.state)) await this.#requireRoom(job);
      const commands = [...replace(this.#keys, stored, job), ...more(job)];
      const session = isFirst ? stored.job.sessionId : null;
      const written = await this.#write(stored, commands, session);
      if (written === 'written') return { job, changed: true };
      if (written === 'blocked') return { job: stored.job, changed: false };
    }
    throw new BerthError(
      'job_store_unavailable',
      `cannot change the job ${id}: it was changed ${mostTries} times meanwhile; try again`,
    );
  }

  /** @throws BerthError `jobs_full` if the job may not be one more that has not ended */
  async #requireRoom({ token }: Job): Promise<void> {
    const keys = this.#keys;
    const [ofToken = 0, ...counts] = await this.#connection.run('count the jobs', (client) =>
      Promise.all(
        [keys.unfinished(token), ...waitingStates.map((state) => keys.state(state))].map((key) =>
          client.zcard(key),
        ),
      ),
    );
    const most = this.#options.mostWaiting;
    if (counts.reduce((sum, count) => sum + count, 0) >= most) throw jobsFull(most);
    const mostOfToken = mostOfOneToken(most);
    if (ofToken >= mostOfToken) throw jobsFull(mostOfToken, token);
  }

  /** @returns false if the job has another revision */
  async write(stored: Stored, commands: readonly Command[]): Promise<boolean> {
    return (await this.#write(stored, commands, null)) === 'written';
  }

  /** @param session of which the job must be the first one; null for any place */
  async #write(
    { job, revision }: Stored,
    commands: readonly Command[],
    session: string | null,
  ): Promise<Written> {
    const keys = this.#keys;
    const order = session === null ? '' : keys.session(session);
    const answer = await this.#connection.script('change the job', write, [
      ...[keys.job(job.id), revision, order, job.id, keys.jobs],
      ...flat(commands),
    ]);
    if (answer === -1) return 'blocked';
    return answer === 1 ? 'written' : 'changed';
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

  async #read(id: string, what: string, names: readonly string[]): Promise<Stored | undefined> {
    const key = this.#keys.job(id);
    const fields = await this.#connection.run(what, async (client) => {
      try {
        return await client.hmget(key, ...names);
      } catch (error) {
        // A key that is not a hash has no fields.
        if (messageOf(error).startsWith('WRONGTYPE')) return [];
        throw error;
      }
    });
    let stored: Stored;
    try {
      stored = parse(id, fields);
    } catch (error) {
      await this.#refuse(id, fields[0] ?? '', flawOf(error));
      return undefined;
    }
    const { job, flaw } = stored;
    if (flaw === undefined || isEnd(job.state)) return stored;
    const failed = withoutRequest(job, Date.now());
    if (await this.write(stored, replace(this.#keys, stored, failed))) {
      this.#options.onRefused(id, flaw);
    }
    return this.#read(id, what, names);
  }

  /** Sets a record aside, if it still has that revision. If there is none, removes its places. */
  async #refuse(id: string, revision: string, reason: string): Promise<void> {
    const keys = this.#keys;
    const done = await this.#connection.script('set a job aside', refuse, [
      ...[keys.job(id), revision, id, keys.events(id), keys.refusedJob(id), keys.refused],
      ...[keys.refusedJob(''), mostRefused, keys.endedBytes, keys.reasons, keys.token('')],
      ...[keys.unfinished(''), keys.session(''), keys.jobs, keys.due, keys.queued, keys.turns],
      ...[keys.ofSession(''), keys.homes, keys.parkedFor('')],
      ...[keys.all, keys.due, keys.later, keys.queued, keys.expiry, keys.ended, keys.callbacks],
      ...[keys.callbacksSince, ...Object.keys(jobTransitions).map((state) => keys.state(state))],
    ]);
    if (done === 1) this.#options.onRefused(id, reason);
  }
}

/** Commands as words for the scripts. */
function flat(commands: readonly Command[]): (string | number)[] {
  return commands.flatMap((command) => [command.length, ...command]);
}
