/**
 * Keeps a session's record while one turn runs: a new one is durable before the answer is told, and
 * its figures are brought up to date behind the answer.
 */
import type { Log } from '../../shared/log.ts';
import type { SessionRecord, SessionStore } from './session-store.ts';
import type { TurnEnd } from './turn.ts';

export class RecordKeeper {
  readonly warnings: string[] = [];
  readonly #store: SessionStore;
  readonly #log: Log;
  readonly #token: string;
  #record: SessionRecord | undefined;
  #begun: Promise<void> | undefined;

  constructor(store: SessionStore, log: Log, token: string, record: SessionRecord | undefined) {
    this.#store = store;
    this.#log = log;
    this.#token = token;
    this.#record = record;
  }

  begin(id: string): void {
    if (this.#record) return;
    const now = new Date().toISOString();
    this.#record = {
      version: 1,
      id,
      token: this.#token,
      created_at: now,
      last_used_at: now,
      turns: 0,
      cost_usd: 0,
    };
    this.#begun = this.#write(this.#record);
  }

  async end({ result }: TurnEnd): Promise<void> {
    this.begin(result.sessionId);
    await this.#begun;
    if (!this.#record) return;
    void this.#write({
      ...this.#record,
      last_used_at: new Date().toISOString(),
      turns: this.#record.turns + 1,
      cost_usd: this.#record.cost_usd + result.costUsd,
    });
  }

  /** An answer that was paid for is not lost because its session could not be noted. */
  async #write(record: SessionRecord): Promise<void> {
    try {
      await this.#store.write(record);
    } catch (error) {
      this.#log.error('session_unrecorded', 'cannot record the session', { error });
      this.warnings.push('the session could not be recorded and may not be continued; see the log');
    }
  }
}
