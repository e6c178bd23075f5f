/**
 * Makes daily budgets, the pause and the limits of the account count over all replicas that share a Redis.
 * Invariants: without Redis each replica continues with its own knowledge, and publishes it when Redis is back. The
 * pause or resume that was decided last wins: its time is later than that of each decision its replica knows, so the
 * difference of two clocks does not matter. Of a pause and a resume of the same moment the pause wins. Spending is the
 * sum over all replicas, at most a few seconds old.
 * A limit counts on the replicas with the same account (`shared-limits.ts`).
 */
import type { UsageLimit } from '../claude/usage-limit.ts';
import type { ReplicaState } from '../jobs/redis/replica-states.ts';
import type { Pause } from '../prompts/pause.ts';
import type { SpendingLedger } from '../spending/spending.ts';
import { SharedLimits } from './shared-limits.ts';

export interface SharedStateOptions {
  exchange: (own: ReplicaState) => Promise<ReplicaState[]>;
  /** What this replica has published last, also before its restart. */
  previous: () => Promise<ReplicaState | undefined>;
  ledger: SpendingLedger;
  pause: Pick<Pause, 'state' | 'adopt' | 'onDecided'>;
  /** The account of a login, to be compared between replicas; undefined if no other replica has this login. */
  accountOf: (login: string) => string | undefined;
  /** Called with a limit that another replica has heard of. */
  heard: (login: string, limit: UsageLimit) => void;
  /** Called when another replica has paused the server: interrupts the prompts, as `POST /v1/pause` does it here. */
  onPaused: () => void;
  now?: () => number;
}

/** Milliseconds between two exchanges. */
const interval = 5_000;
/** How often an exchange publishes again what has changed meanwhile. */
const mostRounds = 3;

export class SharedState {
  readonly #options: SharedStateOptions;
  readonly #now: () => number;
  readonly #limits: SharedLimits;
  /** The newest decision that this replica knows. */
  #pause: ReplicaState['pause'] | undefined;
  /** When a caller decided here what no other replica has read yet, by performance.now(). */
  #decided = Number.NEGATIVE_INFINITY;
  #isRestored = false;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(options: SharedStateOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#limits = new SharedLimits({ accountOf: options.accountOf, now: this.#now });
    options.pause.onDecided(() => this.#decide());
  }

  start(): void {
    this.#timer = setInterval(() => void this.exchange(), interval).unref();
    void this.exchange();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  /** Notes a limit that this replica has heard of. Not for limits that `heard` has brought: these are known. */
  note(login: string, limit: UsageLimit): void {
    this.#limits.note(login, limit);
  }

  /** Publishes the own state and takes over that of the others. Never rejects. */
  exchange(): Promise<void> {
    this.#running ??= this.#exchange()
      // Without Redis the own knowledge counts; the store reports the loss.
      .catch(() => {})
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  async #exchange(): Promise<void> {
    let pause = await this.#restore();
    for (let round = 0; round < mostRounds; round++) {
      await this.#publish(pause);
      if (this.#pause === pause) return;
      pause = this.#pause ?? pause;
    }
  }

  async #publish(pause: ReplicaState['pause']): Promise<void> {
    const { exchange, ledger, heard } = this.#options;
    const others = await exchange({
      version: 1,
      at: this.#now(),
      spent: ledger.spent,
      pause,
      limits: this.#limits.all,
    });
    ledger.countElsewhere(others.map(({ spent }) => spent));
    for (const { limits } of others) {
      for (const [login, report] of Object.entries(limits)) {
        const limit = this.#limits.adopt(login, report);
        if (limit) heard(login, limit);
      }
    }
    // A caller may have decided meanwhile.
    const own = this.#pause ?? pause;
    const newest = others.reduce(
      (best, each) => (isLater(each.pause, best) ? each.pause : best),
      own,
    );
    if (newest === own) {
      if (own === pause) this.#decided = Number.NEGATIVE_INFINITY;
    } else if (performance.now() - this.#decided < 2 * interval) {
      this.#pause = { ...own, at: newest.at + 1 };
    } else {
      await this.#adopt(newest);
    }
  }

  /** A caller has paused or resumed this replica. */
  #decide(): void {
    this.#pause = { ...this.#local, at: Math.max(this.#now(), (this.#pause?.at ?? 0) + 1) };
    this.#decided = performance.now();
    void this.exchange();
  }

  /** What this replica knows when it publishes for the first time: also its decisions from before its restart. */
  async #restore(): Promise<ReplicaState['pause']> {
    if (!this.#isRestored) {
      const before = (await this.#options.previous())?.pause;
      this.#isRestored = true;
      const decided = this.#pause;
      const local = decided ?? this.#local;
      const isSame = decided === undefined && before?.paused === local.paused;
      this.#pause = local;
      if (before && decided) this.#pause = { ...decided, at: Math.max(decided.at, before.at + 1) };
      else if (before && (isSame || before.at > local.at)) await this.#adopt(before);
    }
    return this.#pause ?? this.#local;
  }

  get #local(): ReplicaState['pause'] {
    const { state } = this.#options.pause;
    const { by = null, reason = null, since } = state ?? {};
    return { at: since ? Date.parse(since) : 0, paused: state !== undefined, by, reason };
  }

  async #adopt(pause: ReplicaState['pause']): Promise<void> {
    const own = this.#options.pause;
    this.#pause = pause;
    if (pause.paused && own.state === undefined) {
      const { by, reason } = pause;
      const written = own.adopt({ by: by ?? 'another replica', reason });
      this.#options.onPaused();
      await written;
    } else if (!pause.paused && own.state !== undefined) {
      await own.adopt(undefined);
    }
  }
}

function isLater(one: ReplicaState['pause'], other: ReplicaState['pause']): boolean {
  return one.at === other.at ? one.paused && !other.paused : one.at > other.at;
}
