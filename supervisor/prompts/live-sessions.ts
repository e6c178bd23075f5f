/**
 * The sessions in use: their state, and their end. It queries the registry of prompts and the pool.
 * Invariant: the end of a session ends each prompt that works or waits to work there, in whatever state.
 */
import type { BerthError } from '../../shared/errors.ts';
import { pause } from '../../shared/waiting.ts';
import type { Pool } from '../pool/pool.ts';
import type { RunningSessions, SessionState } from '../sessions/catalog.ts';
import type { LivePrompts } from './live-prompts.ts';

/** Milliseconds. */
const betweenRounds = 50;

export class LiveSessions implements RunningSessions {
  readonly #live: LivePrompts;
  readonly #pool: Pool;

  constructor(live: LivePrompts, pool: Pool) {
    this.#live = live;
    this.#pool = pool;
  }

  stateOf(id: string): SessionState {
    // A prompt that waits, or whose turn is continued in a new process, has no worker for a while.
    if (this.#live.use(id)) return 'busy';
    const state = this.#pool.stateOf(id);
    if (state === undefined) return 'stored';
    return state === 'busy' || state === 'starting' ? 'busy' : 'idle';
  }

  interrupt(id: string, reason: BerthError): boolean {
    const live = this.#live.of(id);
    live?.interrupt(reason);
    return live !== undefined;
  }

  async endSession(id: string, reason: BerthError): Promise<void> {
    for (;;) {
      const using = this.#live.using(id);
      for (const live of using) live.interrupt(reason);
      await this.#pool.endSession(id, reason);
      await Promise.all(using.map(({ over }) => over));
      if (!this.#live.use(id) && this.#pool.stateOf(id) === undefined) return;
      // A worker whose turn does not obey stays busy for some seconds. Only a timer lets them pass.
      if (using.length === 0) await pause(betweenRounds);
    }
  }
}
