/**
 * Makes daily budgets, the pause and the limits of the account count over all replicas that share a Redis.
 * Invariants: without Redis each replica goes on with its own knowledge, and publishes it when Redis is back. The pause
 * that was changed last wins. Spending is the sum over all replicas, at most a few seconds old.
 * A limit counts on the replicas with the same account.
 */
import type { UsageLimit } from '../claude/usage-limit.ts';
import type { ReplicaState } from '../jobs/redis/replica-states.ts';
import type { Pause } from '../prompts/pause.ts';
import type { SpendingLedger } from '../spending/spending.ts';

export interface SharedStateOptions {
  exchange: (own: ReplicaState) => Promise<ReplicaState[]>;
  ledger: SpendingLedger;
  pause: Pick<Pause, 'state' | 'pause' | 'resume'>;
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

export class SharedState {
  readonly #options: SharedStateOptions;
  readonly #now: () => number;
  readonly #limits: ReplicaState['limits'] = {};
  /** The pause that this replica has published or adopted last. */
  #pause: ReplicaState['pause'] | undefined;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(options: SharedStateOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  start(): void {
    this.#timer = setInterval(() => void this.exchange(), interval).unref();
    void this.exchange();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  /** Notes a limit that this replica has heard of. */
  note(login: string, limit: UsageLimit): void {
    this.#limits[login] = { at: this.#now(), limit, account: this.#options.accountOf(login) };
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
    const { exchange, ledger, heard, accountOf } = this.#options;
    const pause = this.#ownPause();
    this.#pause = pause;
    const others = await exchange({
      version: 1,
      at: this.#now(),
      spent: ledger.spent,
      pause,
      limits: this.#limits,
    });
    ledger.countElsewhere(others.map(({ spent }) => spent));
    for (const { limits } of others) {
      for (const [login, { at, limit, account }] of Object.entries(limits)) {
        if (at <= (this.#limits[login]?.at ?? 0)) continue;
        // Replicas may give the same name to the logins of different accounts.
        if (account === undefined || account !== accountOf(login)) continue;
        this.#limits[login] = { at, limit, account };
        heard(login, { ...limit, type: limit.type, resetsAt: limit.resetsAt } as UsageLimit);
      }
    }
    const newest = others.reduce(
      (best, each) => (each.pause.at > best.at ? each.pause : best),
      pause,
    );
    if (newest !== pause) await this.#adopt(newest);
  }

  #ownPause(): ReplicaState['pause'] {
    const { state } = this.#options.pause;
    const known = this.#pause;
    const paused = state !== undefined;
    if (known?.paused === paused) return known;
    const at = known ? this.#now() : paused ? Date.parse(state.since) : 0;
    return { at, paused, by: state?.by ?? null, reason: state?.reason ?? null };
  }

  async #adopt(pause: ReplicaState['pause']): Promise<void> {
    const own = this.#options.pause;
    this.#pause = pause;
    if (pause.paused && own.state === undefined) {
      const written = own.pause(pause.by ?? 'another replica', pause.reason);
      this.#options.onPaused();
      await written;
    } else if (!pause.paused && own.state !== undefined) {
      await own.resume();
    }
  }
}
