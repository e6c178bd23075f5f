/**
 * The connection to the Redis server of jobs.
 * Invariants: without a usable server every command fails at once or within `deadline`, with `job_store_unavailable`;
 * nothing waits in a queue of commands. The connection is made again by itself, with back-off. A server that would lose
 * jobs is not used. A server that refuses writes, such as a full one, is reported as a problem, and is still used: reads
 * succeed, and writes are tried. The password is never part of a message.
 */
import { Redis, type RedisOptions } from 'ioredis';
import { backoff } from '../../../shared/backoff.ts';
import { BerthError, messageOf } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import { withDeadline } from '../../../shared/waiting.ts';
import { problemsOf } from './server-check.ts';

export interface RedisConnectionOptions {
  /** `redis://` or `rediss://`, with user and password. A secret. */
  url: string;
  log: Log;
  /** What happens if the server would lose jobs; `refuse` if absent. */
  check?: 'refuse' | 'warn';
  /** The most milliseconds of one command. */
  deadline?: number;
  /** The name of the channel that reports changes. */
  channel: string;
  /** Called with each message of the channel, and without one after a new connection. */
  onMessage: (message: string | undefined) => void;
}

/** Answers with which Redis refuses each write: its memory is full, its disk fails, or it is a replica. */
const refusedWrite = /^(OOM|MISCONF|READONLY|NOREPLICAS) /;

/** A value in an answer of Redis. */
export type Reply = string | number | null | Reply[];

export class RedisConnection {
  readonly #options: RedisConnectionOptions;
  readonly #client: Redis;
  readonly #subscriber: Redis;
  readonly #deadline: number;
  /** Why the server cannot be used; null if it can. */
  #problem: string | null = 'the connection is not made yet';
  /** Why the server refused the last write; null if it did not. */
  #refusal: string | null = null;
  #checked: Promise<void> | undefined;
  #closed = false;

  constructor(options: RedisConnectionOptions) {
    this.#options = options;
    this.#deadline = options.deadline ?? 3_000;
    const common = {
      lazyConnect: true,
      connectTimeout: this.#deadline,
      retryStrategy: (failures: number) =>
        backoff(failures, { first: 50, longest: 2_000, jitter: 0.5 }),
    } satisfies RedisOptions;
    this.#client = new Redis(options.url, {
      ...common,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
    });
    this.#subscriber = new Redis(options.url, { ...common, maxRetriesPerRequest: null });
    this.#client.on('ready', () => {
      this.#checked = this.#check();
    });
    this.#client.on('close', () => {
      // After a failure the cause is known already.
      if (this.#problem === null) this.#lost('the connection is closed');
    });
    this.#client.on('error', (error) => this.#lost(messageOf(error)));
    // The client reports the same failures.
    this.#subscriber.on('error', () => {});
    this.#subscriber.on('message', (_channel: string, message: string) =>
      options.onMessage(message || undefined),
    );
    this.#subscriber.on('ready', () => options.onMessage(undefined));
  }

  /** Why the server cannot be used, or refuses writes; null if it can be used. */
  get problem(): string | null {
    return this.#problem ?? this.#refusal;
  }

  /** A write has succeeded. Call it after one that comes every few seconds. */
  wrote(): void {
    if (this.#refusal === null) return;
    this.#refusal = null;
    this.#options.log.info('job_store_recovered', 'Redis accepts writes again');
  }

  /** For BullMQ, which shares the connection. */
  get client(): Redis {
    return this.#client;
  }

  /** Connects; returns when the server can be used or the first try has failed. Never rejects. */
  async open(): Promise<void> {
    await withDeadline(this.#client.connect(), this.#deadline, () => new Error('timeout')).catch(
      () => {},
    );
    await this.#checked;
    // Not awaited: the subscriber waits for as long as the server is away.
    this.#subscriber.connect().catch(() => {});
    this.#subscriber.subscribe(this.#options.channel).catch(() => {});
  }

  /**
   * Runs commands.
   * @param what completes "cannot ...": `add the job`
   * @param deadline milliseconds; that of all commands if absent
   * @throws BerthError `job_store_unavailable`; a BerthError of `work` as it is
   */
  async run<T>(
    what: string,
    work: (client: Redis) => Promise<T>,
    deadline = this.#deadline,
  ): Promise<T> {
    if (this.#problem !== null) throw this.#unavailable(what, this.#problem);
    try {
      return await withDeadline(
        work(this.#client),
        deadline,
        () => new Error(`the server did not answer within ${deadline} ms`),
      );
    } catch (error) {
      if (error instanceof BerthError) throw error;
      const cause = messageOf(error);
      if (refusedWrite.test(cause)) this.#refused(cause);
      throw this.#unavailable(what, cause, error);
    }
  }

  /** Runs a script; its keys are among its arguments, since all keys are on one server. */
  script(what: string, lua: string, words: readonly (string | number)[]): Promise<Reply> {
    return this.run(what, (client) => client.eval(lua, 0, ...words) as Promise<Reply>);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#problem = 'berth is shutting down';
    this.#subscriber.disconnect();
    if (this.#client.status === 'ready') {
      await withDeadline(this.#client.quit(), 1_000, () => undefined).catch(() => {});
    }
    this.#client.disconnect();
  }

  async #check(): Promise<void> {
    const { check = 'refuse', log } = this.#options;
    try {
      const info = await withDeadline(
        this.#client.info(),
        this.#deadline,
        () => new Error(`the server did not answer within ${this.#deadline} ms`),
      );
      const problems = problemsOf(info);
      if (problems.length > 0) {
        log.warn('job_store_unsafe', `Redis may lose jobs: ${problems.join('; ')}`, { problems });
      }
      if (this.#closed) return;
      const refused = check === 'refuse' && problems.length > 0;
      if (!refused && this.#problem !== null) log.info('job_store_connected', 'Redis is connected');
      this.#problem = refused ? problems.join('; ') : null;
      this.#options.onMessage(undefined);
    } catch (error) {
      this.#lost(messageOf(error));
      // Connects again: without an answer to INFO, nothing is known about the server.
      if (!this.#closed) this.#client.disconnect(true);
    }
  }

  #lost(cause: string): void {
    if (this.#closed) return;
    if (this.#problem === null) {
      this.#options.log.error(
        'job_store_unavailable',
        'Redis cannot be reached: jobs are refused until it is back, and prompts go on',
        { reason: cause },
      );
    }
    this.#problem = cause;
  }

  #refused(cause: string): void {
    if (this.#refusal === null && !this.#closed) {
      this.#options.log.error(
        'job_store_unavailable',
        'Redis refuses writes: jobs are refused until it accepts them again, and prompts go on',
        { reason: cause },
      );
    }
    this.#refusal = cause;
  }

  #unavailable(what: string, cause: string, error?: unknown): BerthError {
    return new BerthError(
      'job_store_unavailable',
      `cannot ${what}: Redis: ${cause}; try again, and look at the Redis server if it stays so`,
      { details: { retry_after: 5 }, cause: error },
    );
  }
}
