/**
 * Ends work without a prompt while it may not run: the server is paused or stops, the token of the session was revoked,
 * a budget is used up, or the account is at its limit.
 * Invariant: such work ends within one period; its session stays and can be resumed.
 */
import type { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Pool } from '../pool/pool.ts';
import type { SessionRecord } from '../sessions/session-record.ts';

export interface UnpromptedWorkOptions {
  pool: Pool;
  recordOf: (sessionId: string) => SessionRecord | undefined;
  /** The error if no work may run for that session now; undefined if it may. */
  refusalOf: (record: SessionRecord) => BerthError | undefined;
  log: Log;
}

/** Milliseconds between two reviews. */
const period = 500;

export class UnpromptedWork {
  readonly #options: UnpromptedWorkOptions;
  #timer: NodeJS.Timeout | undefined;
  #stopping: BerthError | undefined;

  constructor(options: UnpromptedWorkOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => this.review(), period).unref();
  }

  /** The server stops: all work without a prompt ends. */
  drain(reason: BerthError): void {
    this.#stopping = reason;
    this.review();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Skips busy workers: their prompts are interrupted for the same reasons. */
  review(): void {
    const { pool, recordOf, refusalOf, log } = this.#options;
    for (const worker of pool.workers) {
      const { state, sessionId, process } = worker;
      if (state !== 'idle' || sessionId === undefined || !process.works) continue;
      const record = recordOf(sessionId);
      const refusal = this.#stopping ?? (record && refusalOf(record));
      if (!refusal) continue;
      log.warn('unprompted_ended', `${worker.name} worked without a prompt: it is ended`, {
        worker: worker.name,
        session_id: sessionId,
        reason: refusal.code,
      });
      void pool.recycle(worker, 'unprompted');
    }
  }
}
