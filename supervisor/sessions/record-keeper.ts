/**
 * Keeps the record of a session while one turn runs. The record of a new session is durable before the answer is sent;
 * the figures of a record are updated after the answer.
 */
import type { Log } from '../../shared/log.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import { addUsage, noUsage, recordVersion, type SessionRecord } from './session-record.ts';
import type { SessionStore } from './session-store.ts';

/** The origin of a session that begins with this turn. */
export interface Origin {
  token: string;
  profile: string;
  /** The directory of the worker; called when the session has its id. */
  workingDirectory: () => SessionRecord['working_directory'];
  forkedFrom: string | null;
  flags: SessionRecord['flags'];
  cliVersion: string | null;
  /** The checkout of the session; undefined without one. */
  workspace?: () => SessionRecord['workspace'];
}

export class RecordKeeper {
  readonly warnings: string[] = [];
  readonly #store: SessionStore;
  readonly #log: Log;
  readonly #origin: Origin;
  #record: SessionRecord | undefined;
  #begun: Promise<void> | undefined;

  /** @param record of the session that the turn continues; a fork continues none */
  constructor(store: SessionStore, log: Log, origin: Origin, record: SessionRecord | undefined) {
    this.#store = store;
    this.#log = log;
    this.#origin = origin;
    this.#record = record;
  }

  /** Called with each id that the CLI gives the session: `/clear` as a prompt begins another. */
  begin(id: string): void {
    if (this.#record?.id === id) return;
    const now = new Date().toISOString();
    const { token, profile, workingDirectory, forkedFrom, flags, cliVersion } = this.#origin;
    this.#record = {
      version: recordVersion,
      id,
      token,
      profile,
      created_at: now,
      last_used_at: now,
      turns: 0,
      cost_usd: 0,
      usage: noUsage,
      working_directory: workingDirectory(),
      forked_from: forkedFrom,
      flags,
      cli_version: cliVersion,
    };
    const workspace = this.#origin.workspace?.();
    if (workspace) this.#record = { ...this.#record, workspace };
    this.#begun = this.#write(this.#record);
  }

  /** Resolves when the record of a session that has begun is durable, or could not be written. */
  async recorded(): Promise<void> {
    await this.#begun;
  }

  /** Forgets the session that this turn has begun: the next attempt begins another one. */
  async forget(id: string): Promise<void> {
    await this.#begun;
    this.#begun = undefined;
    if (this.#record?.id === id) this.#record = undefined;
  }

  /**
   * Called before a text is sent to a session. From then on its transcript has more than the history that a conversation
   * has noted, also if the turn has no end.
   */
  goesOn(id: string): void {
    const record = this.#store.peek(id);
    if (!record?.conversation) return;
    const { conversation: _, ...rest } = record;
    this.#store.note(rest);
  }

  async end(result: TurnResult): Promise<void> {
    this.begin(result.sessionId);
    await this.#begun;
    // Another turn of the session may have ended since this prompt was accepted.
    const record = this.#store.peek(result.sessionId) ?? this.#record;
    if (!record) return;
    // Conversations note the new history of the session after the answer.
    const { conversation: _, ...rest } = record;
    this.#store.note({
      ...rest,
      last_used_at: new Date().toISOString(),
      turns: record.turns + 1,
      cost_usd: record.cost_usd + result.costUsd,
      usage: addUsage(record.usage, result.usage),
      working_directory: this.#origin.workingDirectory(),
      cli_version: this.#origin.cliVersion ?? record.cli_version,
    });
  }

  /** A failed write costs a warning and not the answer, which was paid for. */
  async #write(record: SessionRecord): Promise<void> {
    try {
      await this.#store.write(record);
    } catch (error) {
      this.#log.error('session_unrecorded', 'cannot record the session', { error });
      this.warnings.push('the session could not be recorded and may not be continued; see the log');
    }
  }
}
