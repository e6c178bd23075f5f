/**
 * One refresh at a time. While the access token is about to end, one turn that needs it goes first, and
 * its process refreshes it; others are held until the watch has seen that, the API has answered, or the
 * bound is up.
 * Always holds: nobody is held longer than the bound; after a try that brought no refresh nobody is held
 * for a while; the locks of the CLI itself decide who refreshes, so a mistake here costs a wait.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { refreshMargin } from './refresh-lineage.ts';
import { FileLoginUse, type Leader, type RefreshTurnsOptions } from './turn-login.ts';

export class RefreshTurns {
  readonly #options: RefreshTurnsOptions;
  readonly #pause: number;
  #leader: Leader | undefined;
  /** By performance.now(). */
  #openUntil = 0;
  readonly #changes = new Set<() => void>();
  #generation = 0;

  constructor(options: RefreshTurnsOptions) {
    this.#options = options;
    this.#pause = options.pause ?? 60_000;
  }

  /** Whether a refresh is due and none was tried in vain lately. */
  get pending(): boolean {
    return this.due && performance.now() >= this.#openUntil;
  }

  /** Whether the login is one that the CLI refreshes. */
  get renewable(): boolean {
    const { state } = this.#options.watch;
    return state.kind === 'valid' && state.credentials.refreshTokenId !== undefined;
  }

  /** Whether the CLI would refresh the login now. */
  get due(): boolean {
    const { state } = this.#options.watch;
    if (state.kind !== 'valid' || !this.renewable) return false;
    return state.credentials.expiresAt - refreshMargin <= Date.now();
  }

  /** Another number each time that there is another good login, or the same one again. */
  get generation(): number {
    return this.#generation;
  }

  /** To be called when the file was read and has changed. */
  changed(): void {
    if (this.#options.watch.state.kind === 'valid') this.#generation += 1;
    if (!this.due) this.#leader?.end();
    for (const tell of this.#changes) tell();
  }

  /** Resolves when the turn may begin. @throws the signal's reason */
  async begin(signal: AbortSignal): Promise<FileLoginUse> {
    let leader: Leader | undefined;
    while (leader === undefined && this.pending) {
      if (await this.#options.elsewhere()) this.#open();
      else if (this.#leader) await orAborted(this.#leader.over, signal);
      else if (this.pending) leader = this.#lead();
    }
    return new FileLoginUse(this, this.#options, leader);
  }

  /** The leader's turn has shown whether there was a refresh. */
  async settle(leader: Leader): Promise<void> {
    if (leader !== this.#leader) return;
    await this.#options.watch.look().catch(() => undefined);
    if (this.due) this.#open();
    leader.end();
  }

  /** Resolves at the next change of the file, and after so many milliseconds. @throws the signal's reason */
  async change(milliseconds: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, milliseconds);
    this.#changes.add(resolve);
    try {
      await orAborted(promise, signal);
    } finally {
      clearTimeout(timer);
      this.#changes.delete(resolve);
    }
  }

  #lead(): Leader {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const waiting = new AbortController();
    const leader: Leader = {
      over,
      end: () => {
        if (this.#leader === leader) this.#leader = undefined;
        waiting.abort();
        resolve();
      },
    };
    this.#leader = leader;
    const { bound = 10_000 } = this.#options;
    delay(bound, undefined, { signal: waiting.signal }).then(
      () => {
        this.#open();
        leader.end();
      },
      () => undefined,
    );
    return leader;
  }

  #open(): void {
    this.#openUntil = performance.now() + this.#pause;
  }
}

async function orAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const leave = (): void => reject(signal.reason);
  signal.addEventListener('abort', leave, { once: true });
  try {
    signal.throwIfAborted();
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
