/**
 * Delivers the callbacks of ended jobs: takes the ones that are due from the store, sends them, and records what followed.
 * Invariants: the store knows every callback until it is delivered or given up, so a restart continues. At most
 * `mostRequests` run at once, and `mostPerHost` to one host. The record of an answer changes only the end of the job that
 * the message reported. `stop` ends running requests at once, and they are due again.
 */
import { backoff } from '../../../shared/backoff.ts';
import { messageOf } from '../../../shared/errors.ts';
import type { Log } from '../../../shared/log.ts';
import { pause, within } from '../../../shared/waiting.ts';
import { Wake } from '../../../shared/wake.ts';
import type { Callback, Job } from '../job.ts';
import type { JobStore } from '../job-store.ts';
import { type CallbackUrl, parseCallbackUrl } from './callback-url.ts';
import { HostSlots } from './host-slots.ts';
import { type Message, messageOfEnd } from './message.ts';
import type { Answer } from './post.ts';
import { type CallbackOutcome, causeOf, judge } from './verdict.ts';

export interface DeliveryOptions {
  store: JobStore;
  log: Log;
  /** @throws Error whose message is for people and has no path of the URL */
  send: (url: CallbackUrl, message: Message, signal: AbortSignal) => Promise<Answer>;
  /** Called after each request. */
  onOutcome?: ((outcome: CallbackOutcome) => void) | undefined;
  /** Milliseconds since 1970. */
  now?: (() => number) | undefined;
}

const mostRequests = 16;
const mostPerHost = 4;
/** Milliseconds that a claimed callback is not given to others: longer than a request can take. */
const lease = 45_000;
/** Milliseconds between two reads of the store, if nothing else is known. */
const longestSleep = 30_000;
/** Changes of jobs come in bursts: so many milliseconds between two reads at least. */
const shortestSleep = 100;
/** Milliseconds for what a stopped delivery puts back. */
const putBackWithin = 2_000;
const storeWaits = { first: 1_000, longest: 30_000, jitter: 0.3 };

export class CallbackDelivery {
  readonly #options: DeliveryOptions;
  readonly #now: () => number;
  readonly #slots = new HostSlots(mostPerHost);
  readonly #running = new Set<Promise<void>>();
  readonly #stopping = new AbortController();
  readonly #wake = new Wake();
  #loop: Promise<void> | undefined;
  #failures = 0;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
    await Promise.all(this.#running);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const forget = this.#options.store.onChange(() => this.#wake.wake());
    while (!signal.aborted) {
      if (this.#running.size >= mostRequests) await Promise.race(this.#running);
      else await this.#next();
    }
    forget();
  }

  /** Begins with the next callback, or waits for one; never rejects. */
  async #next(): Promise<void> {
    const { store, log } = this.#options;
    const { signal } = this.#stopping;
    try {
      this.#wake.clear();
      const job = await store.claimCallback(this.#now(), lease);
      if (this.#failures > 0) log.info('callbacks_unavailable', 'callbacks are sent again');
      this.#failures = 0;
      if (job) return await this.#begin(job);
      const { callback } = await store.nextDue(this.#now());
      const wait = Math.min((callback ?? Infinity) - this.#now(), longestSleep);
      await pause(shortestSleep, signal);
      await this.#wake.wait(Math.max(0, wait - shortestSleep), signal);
    } catch (error) {
      const retry_ms = Math.round(backoff(++this.#failures, storeWaits));
      const text = 'cannot get the next callback; it is tried again';
      if (this.#failures === 1) log.warn('callbacks_unavailable', text, { error, retry_ms });
      await pause(retry_ms, signal);
    }
  }

  async #begin(job: Job): Promise<void> {
    const { callback } = job;
    const message = messageOfEnd(job);
    if (!callback || !message) return this.#record(job, (now) => ({ ...now, nextAt: null }));
    let url: CallbackUrl;
    try {
      url = parseCallbackUrl(callback.url);
    } catch (error) {
      // Only a damaged store has such a URL.
      const failed = { state: 'failed', nextAt: null, lastError: messageOf(error) } as const;
      return this.#record(job, (now) => ({ ...now, ...failed }));
    }
    const slot = this.#slots.take(url.authority, this.#now());
    if (typeof slot === 'number') {
      return this.#record(job, (now) => ({ ...now, nextAt: this.#now() + slot }));
    }
    const running = this.#deliver(job, callback, url, message)
      .catch((error: unknown) => {
        // The lease of the claim brings the callback back.
        this.#options.log.warn('callbacks_unavailable', 'cannot record a callback', { error });
      })
      .finally(() => {
        slot(this.#now());
        this.#running.delete(running);
      });
    this.#running.add(running);
  }

  async #deliver(job: Job, callback: Callback, url: CallbackUrl, message: Message): Promise<void> {
    const { signal } = this.#stopping;
    const started = this.#now();
    let answer: Answer | undefined;
    let cause = '';
    try {
      answer = await this.#options.send(url, message, signal);
      cause = causeOf(answer);
    } catch (error) {
      if (signal.aborted) {
        const due = this.#record(job, (now) => ({ ...now, nextAt: started }));
        return void (await within(due, putBackWithin));
      }
      cause = messageOf(error);
    }
    const endedAt = job.endedAt ?? started;
    const verdict = judge(callback, answer, cause, { now: this.#now(), endedAt });
    await this.#record(job, () => verdict.callback);
    this.#options.onOutcome?.(verdict.outcome);
    this.#report(job.id, url, verdict.outcome, verdict.callback, started);
  }

  /** Changes the callback of this end of the job, unless the job runs again or is gone. */
  async #record(claimed: Job, change: (callback: Callback) => Callback): Promise<void> {
    await this.#options.store.update(claimed.id, (job) => {
      const isSame = job.callback?.state === 'pending' && job.endedAt === claimed.endedAt;
      return isSame && job.callback ? { ...job, callback: change(job.callback) } : undefined;
    });
  }

  #report(
    job_id: string,
    { authority: host }: CallbackUrl,
    outcome: CallbackOutcome,
    { attempts, lastStatus: status, lastError: cause, nextAt }: Callback,
    started: number,
  ): void {
    const { log } = this.#options;
    const now = this.#now();
    const fields = { job_id, host, status, attempts };
    if (outcome === 'delivered') {
      const text = `${host} accepted the callback of ${job_id}`;
      log.info('callback_delivered', text, { ...fields, duration_ms: now - started });
    } else if (outcome === 'retried') {
      const retry_ms = (nextAt ?? now) - now;
      const text = `${host} did not accept the callback of ${job_id}: ${cause}; it is sent again later`;
      log.info('callback_retried', text, { ...fields, cause, retry_ms });
    } else {
      const text = `cannot deliver the callback of ${job_id} to ${host}: ${cause}; correct the receiver`;
      log.error('callback_failed', text, { ...fields, cause });
    }
  }
}
