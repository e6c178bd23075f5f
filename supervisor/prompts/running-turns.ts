/** The turns that run, by their session: a session has one at most. */
import { follow } from './link-abort.ts';

export interface RunningTurn {
  /** Aborts when the turn is to be interrupted, for whatever reason. */
  readonly signal: AbortSignal;
  interrupt(reason: Error): void;
  /** Called with each id that its session gets. */
  belongsTo(sessionId: string): void;
  /** Resolves when its worker is given back. */
  readonly over: Promise<void>;
  end(): void;
}

export class RunningTurns {
  readonly #turns = new Map<string, RunningTurn>();

  /** @param signal of the prompt */
  begin(signal: AbortSignal): RunningTurn {
    const own = new AbortController();
    const unfollow = follow(signal, own);
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const ids = new Set<string>();
    const turn: RunningTurn = {
      signal: own.signal,
      interrupt: (reason) => own.abort(reason),
      over,
      belongsTo: (sessionId) => {
        ids.add(sessionId);
        this.#turns.set(sessionId, turn);
      },
      end: () => {
        unfollow();
        for (const id of ids) if (this.#turns.get(id) === turn) this.#turns.delete(id);
        resolve();
      },
    };
    return turn;
  }

  of(sessionId: string): RunningTurn | undefined {
    return this.#turns.get(sessionId);
  }
}
