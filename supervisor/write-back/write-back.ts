/**
 * Keeps the live Secret as new as the login on the volume. It reads the volume when its directory
 * changes, and also every few seconds, because some file systems have no change events. It also
 * reads the Secret from time to time.
 * Invariants: one call at a time. Only the newest login is written, however many arrived before. A
 * failed write is retried without end, with a growing delay. A login that was seen and is not in
 * the Secret yet stays pending, even if the volume loses it.
 */
import { join } from 'node:path';
import { type Backoff, backoff } from '../../shared/backoff.ts';
import { credentialsFileName } from '../../shared/credentials.ts';
import { messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { pause } from '../../shared/waiting.ts';
import { Wake } from '../../shared/wake.ts';
import { FileWatcher } from '../credentials/file-watcher.ts';
import { type FailureReason, WriteBackFailure } from './api-failure.ts';
import type { Decision } from './decide.ts';
import { SecretWriter, type SecretWriterOptions } from './secret-writer.ts';
import { readHistory, readVolumeLogin, type VolumeLogin } from './volume.ts';
import { WriteBackLog } from './write-back-log.ts';

/** Counts events. */
export interface Observer {
  /** The volume and the Secret were read: the Secret has the volume's login, or the volume has none. */
  succeeded(): void;
  /** The Secret was read and has another login than the volume. */
  kept(): void;
  failed(reason: FailureReason): void;
  /** @param milliseconds since the login was seen */
  written(milliseconds: number): void;
}

/** Milliseconds. */
export interface Timing {
  /** Between two reads of the volume. */
  look: number;
  /** From a change of the directory to the read: changes come in bursts. */
  settle: number;
  /** Between two reads of a Secret without a write. */
  check: number;
  /** The minimum time between two writes, independent of events on the volume. */
  spacing: number;
  /**
   * From a decision to keep the login of the Secret to a second one about the same new login: the supervisor may record
   * the earlier login as used up just after the refresh.
   */
  reconsider: number;
  /** After a failure. */
  retry: Backoff;
  /** For the last write at the stop. */
  flush: number;
}

export interface WriteBackOptions extends SecretWriterOptions {
  log: Log;
  observer: Observer;
  timing?: Partial<Timing>;
}

const usual: Timing = {
  look: 2_000,
  settle: 50,
  check: 5 * 60_000,
  spacing: 1_000,
  reconsider: 2_000,
  retry: { first: 500, longest: 30_000, jitter: 0.5 },
  flush: 10_000,
};

/** Between two attempts to write the last login at the stop. */
const lastRetries: Backoff = { first: 100, longest: 1_000 };

export class WriteBack {
  readonly #options: WriteBackOptions;
  readonly #timing: Timing;
  readonly #writer: SecretWriter;
  readonly #log: WriteBackLog;
  readonly #stopping = new AbortController();
  /** Also ends running calls. */
  readonly #ending = new AbortController();
  readonly #wake = new Wake();
  readonly #watcher: FileWatcher;
  #running: Promise<void> = Promise.resolve();
  #stopped: Promise<boolean> | undefined;
  /** Whether the last read of the volume succeeded. */
  #isReadable = false;
  /** The newest good login that the volume has had, and since when by performance.now(). */
  #wanted: { login: VolumeLogin; since: number } | undefined;
  /** The id of the login of the last decision. */
  #settled: string | undefined;
  /** The id of the login that is decided about a second time. */
  #reconsidered: string | undefined;
  #failures = 0;
  /** A time of performance.now(). */
  #notBefore = 0;
  #nextCheck = 0;

  constructor(options: WriteBackOptions) {
    this.#options = options;
    this.#timing = { ...usual, ...options.timing };
    this.#writer = new SecretWriter(options);
    this.#log = new WriteBackLog(options.log);
    const { configDirectory: directory, log } = options;
    this.#watcher = new FileWatcher({
      ...{ directory, path: join(directory, credentialsFileName), log },
      ...{ settle: this.#timing.settle, interval: this.#timing.look },
      onChange: () => this.#wake.wake(),
    });
  }

  /** Whether the volume has, or had, a login that the Secret may not have yet. */
  get pending(): boolean {
    return this.#wanted !== undefined && nameOf(this.#wanted.login) !== this.#settled;
  }

  /** Runs until it is stopped. @throws any error that is a bug */
  run(): Promise<void> {
    void this.#watcher.start();
    this.#running = this.#run();
    return this.#running;
  }

  /**
   * Writes the pending login within a bound.
   * @param now skips that too
   * @returns whether no login is pending
   */
  stop(now?: AbortSignal): Promise<boolean> {
    this.#stopped ??= this.#stop(now);
    return this.#stopped;
  }

  async #stop(now?: AbortSignal): Promise<boolean> {
    const end = (): void => this.#ending.abort();
    now?.addEventListener('abort', end, { once: true });
    if (now?.aborted) end();
    const timer = setTimeout(end, this.#timing.flush);
    this.#stopping.abort();
    try {
      await this.#running.catch(() => undefined);
      await this.#watcher.stop();
      await this.#readVolume();
      const { signal } = this.#ending;
      for (let tries = 1; this.pending && !signal.aborted; tries++) {
        await this.#attempt();
        if (this.pending) await pause(backoff(tries, lastRetries), signal);
      }
    } finally {
      clearTimeout(timer);
    }
    return !this.pending;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      this.#wake.clear();
      await this.#readVolume();
      const isDue = this.pending || performance.now() >= this.#nextCheck;
      if (isDue && performance.now() >= this.#notBefore && !signal.aborted) await this.#attempt();
      const wait = this.pending ? this.#notBefore - performance.now() : this.#timing.look;
      await this.#wake.wait(Math.max(wait, 1), signal);
    }
  }

  async #readVolume(): Promise<void> {
    try {
      const login = await readVolumeLogin(this.#options);
      const isNew = login && (!this.#wanted || nameOf(login) !== nameOf(this.#wanted.login));
      if (isNew && !(await this.#isOld(login))) this.#wanted = { login, since: performance.now() };
      this.#isReadable = true;
      this.#log.volumeIsReadable();
    } catch (error) {
      this.#isReadable = false;
      const lasts = this.#log.volumeIsUnreadable(messageOf(error));
      if (lasts) this.#options.observer.failed('volume');
    }
  }

  /** Whether the login is an old copy; the supervisor restores the good login. */
  async #isOld({ id }: VolumeLogin): Promise<boolean> {
    const history = await readHistory(this.#options);
    return history.is('superseded', id) || history.is('refused', id);
  }

  async #attempt(): Promise<void> {
    const { observer } = this.#options;
    const wanted = this.#wanted;
    try {
      const decision = await this.#writer.settle(wanted?.login, this.#ending.signal);
      const isOpen = wanted !== undefined && this.#isOpen(decision, wanted.login);
      if (wanted && !isOpen) this.#conclude(decision, wanted);
      this.#log.recovered(this.#failures);
      this.#failures = 0;
      const { spacing, reconsider } = this.#timing;
      this.#notBefore = performance.now() + (isOpen ? reconsider : spacing);
      this.#nextCheck = performance.now() + this.#timing.check;
      const isKept = decision !== 'write' && decision !== 'same';
      if (isKept) observer.kept();
      // The volume may have a newer login than the last one that could be read.
      else if (this.#isReadable) observer.succeeded();
    } catch (error) {
      if (!(error instanceof WriteBackFailure)) throw error;
      this.#failures += 1;
      observer.failed(error.reason);
      const wait = backoff(this.#failures, this.#timing.retry);
      this.#notBefore = performance.now() + Math.max(wait, error.retryAfter ?? 0);
      this.#log.failed(error, { failures: this.#failures, pending: this.pending });
    }
  }

  /** Whether a decision about a new login is to be made again, once. */
  #isOpen(decision: Decision, login: VolumeLogin): boolean {
    const name = nameOf(login);
    if (decision !== 'expires_later' || name === this.#settled) return false;
    const isFirst = this.#reconsidered !== name;
    this.#reconsidered = name;
    return isFirst;
  }

  #conclude(decision: Decision, { login, since }: { login: VolumeLogin; since: number }): void {
    const wasPending = nameOf(login) !== this.#settled;
    this.#settled = nameOf(login);
    const milliseconds = performance.now() - (wasPending ? since : performance.now());
    if (decision === 'write') this.#options.observer.written(milliseconds);
    if (decision === 'write' || wasPending) this.#log.decided(decision, login, milliseconds);
  }
}

function nameOf({ credentials, source }: VolumeLogin): string {
  return `${credentials.digest} ${source?.digest ?? ''}`;
}
