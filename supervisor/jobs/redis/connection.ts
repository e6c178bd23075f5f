/**
 * The connection to the Redis server of jobs.
 * Invariants: without a usable server every command fails at once or within `deadline`, with `job_store_unavailable`;
 * nothing waits in a queue of commands. The connection is made again by itself, with back-off, also if its packets vanish. A
 * server that would lose jobs is not used. The server is checked again every few seconds: its role, its settings and its
 * memory may change. The password is never part of a message.
 */
import { Redis, type RedisOptions } from 'ioredis';
import { backoff } from '../../../shared/backoff.ts';
import { BerthError, messageOf } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import { withDeadline, within } from '../../../shared/waiting.ts';
import { isReplica, memoryProblem, problemsOf } from './server-check.ts';

export interface RedisConnectionOptions {
  /** `redis://` or `rediss://`, with user and password. A secret. */
  url: string;
  log: Log;
  /** What happens if the server would lose jobs; `refuse` if absent. */
  check?: 'refuse' | 'warn';
  /** The most milliseconds of one command. */
  deadline?: number;
  /** Milliseconds between two checks of the server; 5 s if absent. */
  betweenChecks?: number;
  /**
   * After so many milliseconds without an answer the connection is made again; 30 s if absent. It must exceed the longest
   * command: an upload delays the answers behind it.
   */
  longestSilence?: number;
  /** A key that is written to see whether the server accepts writes. */
  probe: string;
  /** The name of the channel that reports changes. */
  channel: string;
  /** Called with each message of the channel, and without one when the server can be used again. */
  onMessage: (message: string | undefined) => void;
}

/** A value in an answer of Redis. */
export type Reply = string | number | null | Reply[];

/** What begins the replies of a server that accepts no writes, or no larger ones. */
const refusal = /\b(?:OOM|READONLY|MISCONF|NOREPLICAS) /;

export class RedisConnection {
  readonly #options: RedisConnectionOptions;
  readonly #client: Redis;
  readonly #subscriber: Redis;
  readonly #deadline: number;
  /** Why the server cannot be used; null if it can. */
  #problem: string | null = 'the connection is not made yet';
  /** Why the server refuses writes, although it answers; null if it accepts them. */
  #refusal: string | null = null;
  /** How many writes were refused. */
  #refusals = 0;
  /** How often the connection was made or lost. */
  #connections = 0;
  /** Why the server has no memory for new jobs; null if it has some. */
  #scarcity: string | null = null;
  /** Whether this connection of the subscriber hears the channel. */
  #isSubscribed = false;
  /** Why the server refuses the subscription; undefined if it does not. */
  #refusedSubscription: string | undefined;
  /** The problems that were logged last. */
  #warned = '';
  #checked: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reviewing = false;
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
    this.#subscriber = new Redis(options.url, {
      ...common,
      maxRetriesPerRequest: null,
      // By itself ioredis ignores what its SUBSCRIBE answers: a failure would be an unhandled rejection.
      autoResubscribe: false,
    });
    this.#client.on('ready', () => {
      this.#connections += 1;
      this.#checked = this.#check();
    });
    this.#client.on('close', () => {
      this.#connections += 1;
      // After a failure the cause is known already.
      if (this.#problem === null) this.#lost('the connection is closed');
    });
    this.#client.on('error', (error) => this.#lost(messageOf(error)));
    // The client reports the same failures.
    this.#subscriber.on('error', () => {});
    this.#subscriber.on('message', (_channel: string, message: string) =>
      options.onMessage(message || undefined),
    );
    this.#subscriber.on('ready', () => {
      this.#isSubscribed = false;
      void this.#subscribe();
    });
  }

  /** Why the server cannot be used, or accepts no new jobs; null if it can. */
  get problem(): string | null {
    return this.#problem ?? this.#refusal ?? this.#scarcity;
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
    if (this.#closed) return;
    const { betweenChecks = 5_000 } = this.#options;
    this.#timer = setInterval(() => void this.#review(), betweenChecks).unref();
  }

  /**
   * Call it before something new is stored.
   * @throws BerthError `job_store_unavailable` if what is left of the memory is for jobs that were accepted
   */
  requireRoom(what: string): void {
    if (this.#scarcity !== null) throw this.#unavailable(what, this.#scarcity);
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
      this.#noteRefusal(messageOf(error));
      throw this.#unavailable(what, messageOf(error), error);
    }
  }

  /** Runs a script; its keys are among its arguments, since all keys are on one server. */
  script(what: string, lua: string, words: readonly (string | number)[]): Promise<Reply> {
    return this.run(what, (client) => client.eval(lua, 0, ...words) as Promise<Reply>);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#problem = 'berth is shutting down';
    this.#subscriber.disconnect();
    if (this.#client.status === 'ready') {
      await within(this.#client.quit(), 1_000).catch(() => {});
    }
    this.#client.disconnect();
  }

  /** Never rejects. What was published before the subscription was missed. */
  async #subscribe(): Promise<void> {
    const { channel, onMessage, log } = this.#options;
    const refused = await this.#subscriber.subscribe(channel).then(() => undefined, messageOf);
    if (this.#closed) return;
    this.#isSubscribed = refused === undefined;
    if (this.#isSubscribed) onMessage(undefined);
    // The failure of a connection that closed meanwhile is reported by the client.
    const isClosed = refused !== undefined && this.#subscriber.status !== 'ready';
    if (isClosed || refused === this.#refusedSubscription) return;
    this.#refusedSubscription = refused;
    if (refused === undefined) {
      log.info('job_store_subscribed', 'Redis accepts the subscription again');
      return;
    }
    const remedy = refused.startsWith('NOPERM')
      ? `allow the user of BERTH_REDIS_URL the command SUBSCRIBE and the channel ${channel}`
      : 'berth tries again';
    const text = `Redis refuses the subscription, so changes by other replicas are found later; ${remedy}`;
    log.warn('job_store_unsubscribed', text, { reason: refused });
  }

  async #check(): Promise<void> {
    try {
      const info = await withDeadline(
        this.#client.info(),
        this.#deadline,
        () => new Error(`the server did not answer within ${this.#deadline} ms`),
      );
      this.#judge(info);
      if (!this.#closed) this.#options.onMessage(undefined);
    } catch (error) {
      this.#lost(messageOf(error));
      // Connects again: without an answer to INFO, nothing is known about the server.
      if (!this.#closed) this.#client.disconnect(true);
    }
  }

  /** Checks the server of an open connection again. Never rejects. */
  async #review(): Promise<void> {
    if (this.#reviewing || this.#closed) return;
    this.#reviewing = true;
    const { probe } = this.#options;
    const [refusals, connections] = [this.#refusals, this.#connections];
    // A silent subscriber is not the silence of the client.
    void this.#ask(this.#subscriber, async (subscriber) => {
      await subscriber.ping();
      // The server may have refused the subscription: it was busy, or its rules were others.
      if (!this.#isSubscribed) await this.#subscribe();
    });
    try {
      const [info, refused] = await Promise.all([
        this.#ask(this.#client, (client) => client.info()),
        this.#ask(this.#client, (client) =>
          client.set(probe, '1', 'PX', 60_000).then(() => null, messageOf),
        ),
      ]);
      // What was answered before the connection was lost, or made again, says nothing of now.
      if (info === undefined || this.#closed || connections !== this.#connections) return;
      const before = this.#problem;
      this.#judge(info);
      if (before !== null && this.#problem === null) this.#options.onMessage(undefined);
      // What was refused meanwhile is newer than the write of this check.
      if (refused === null && refusals === this.#refusals) this.#accepts();
      else this.#noteRefusal(refused ?? '');
      // The address may lead to the new primary by now.
      if (isReplica(info)) this.#client.disconnect(true);
    } finally {
      this.#reviewing = false;
    }
  }

  /** Undefined if the connection is away, or was silent for so long that it is made again. */
  async #ask<T>(client: Redis, work: (client: Redis) => Promise<T>): Promise<T | undefined> {
    if (client.status !== 'ready') return undefined;
    const { longestSilence = 30_000 } = this.#options;
    let isSilent = false;
    const late = (): Error => {
      isSilent = true;
      return new Error(`the server did not answer within ${longestSilence} ms`);
    };
    try {
      return await withDeadline(work(client), longestSilence, late);
    } catch (error) {
      if (isSilent && !this.#closed) {
        if (client === this.#client) this.#lost(messageOf(error));
        client.disconnect(true);
      }
      return undefined;
    }
  }

  #judge(info: string): void {
    const { check = 'refuse', log } = this.#options;
    const problems = problemsOf(info);
    const text = problems.join('; ');
    if (text !== '' && text !== this.#warned) {
      log.warn('job_store_unsafe', `Redis may lose jobs: ${text}`, { problems });
    }
    this.#warned = text;
    if (this.#closed) return;
    // A replica takes no write, whatever the check says.
    const refused = (check === 'refuse' && problems.length > 0) || isReplica(info);
    if (!refused && this.#problem !== null) log.info('job_store_connected', 'Redis is connected');
    this.#problem = refused ? text : null;
    const scarcity = memoryProblem(info);
    if (scarcity !== null && this.#scarcity === null) this.#report(scarcity);
    if (scarcity === null && this.#scarcity !== null) {
      log.info('job_store_recovered', 'Redis has memory for new jobs again');
    }
    this.#scarcity = scarcity;
  }

  #noteRefusal(cause: string): void {
    if (!refusal.test(cause)) return;
    if (this.#refusal === null) this.#report(cause);
    this.#refusal = cause;
    this.#refusals += 1;
  }

  #accepts(): void {
    if (this.#refusal === null) return;
    this.#refusal = null;
    this.#options.log.info('job_store_recovered', 'Redis accepts writes again');
  }

  #report(reason: string): void {
    const text = `Redis accepts no new jobs: ${reason}`;
    this.#options.log.error('job_store_unavailable', text, { reason });
  }

  #lost(cause: string): void {
    if (this.#closed) return;
    if (this.#problem === null) {
      this.#options.log.error(
        'job_store_unavailable',
        'Redis cannot be reached: jobs are refused until it is back, and prompts are still served',
        { reason: cause },
      );
    }
    this.#problem = cause;
  }

  #unavailable(what: string, cause: string, error?: unknown): BerthError {
    return new BerthError(
      'job_store_unavailable',
      `cannot ${what}: Redis: ${cause}; try again, and check the Redis server if the error persists`,
      { details: { retry_after: 5 }, cause: error },
    );
  }
}
