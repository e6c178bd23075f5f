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

  /** Called with each id that the CLI gives the session: `/clear` as a prompt begins another. */
  begin(id: string): void {
    if (this.#record?.id === id) return;
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
    // Another turn of the session may have ended since this one was accepted.
    const record = (await this.#store.read(result.sessionId)) ?? this.#record;
    if (!record) return;
    void this.#write({
      ...record,
      last_used_at: new Date().toISOString(),
      turns: record.turns + 1,
      cost_usd: record.cost_usd + result.costUsd,
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
