/**
 * The log of write-back: each decision, and a lasting failure once and then every ten minutes.
 * Invariant: no token is logged; a login is named by the first digits of its refresh token's hash.
 */
import type { Log } from '../../shared/log.ts';
import type { WriteBackFailure } from './api-failure.ts';
import type { Decision } from './decide.ts';
import type { VolumeLogin } from './volume.ts';

/** Milliseconds. */
const tellAgain = 10 * 60_000;
/** Milliseconds: a file that is being written is incomplete for a moment. */
const patience = 1_000;

/** Why nothing was written. */
const kept: Record<Exclude<Decision, 'write'>, string> = {
  same: 'the live Secret already has this login',
  expires_later:
    "did not write the volume's login: the live Secret has another login, which expires later; if that login is old, empty the live Secret",
  used_up:
    "did not write the volume's login: it is used up or was refused; the live Secret keeps its login",
};

export class Telling {
  readonly #log: Log;
  #told: { reason: string; at: number } | undefined;
  #problem: { why: string; since: number; told: boolean } | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  decided(decision: Decision, { credentials, source }: VolumeLogin, milliseconds: number): void {
    const facts = {
      refresh_token_id: credentials.refreshTokenId,
      expires_at: new Date(credentials.expiresAt).toISOString(),
      source_digest: source,
      duration_ms: Math.round(milliseconds),
    };
    if (decision === 'write') {
      this.#log.info('credentials_written_back', 'wrote the login to the live Secret', facts);
      return;
    }
    const level = decision === 'same' ? 'debug' : 'warn';
    this.#log[level]('write_back_kept', kept[decision], { ...facts, outcome: decision });
  }

  failed(failure: WriteBackFailure, facts: { failures: number; pending: boolean }): void {
    const { reason, status, lasting, message } = failure;
    const now = performance.now();
    const same = this.#told?.reason === reason;
    const sentence = `cannot write the login back: ${message}`;
    const fields = { reason, status, ...facts };
    if (same && now - (this.#told?.at ?? 0) < tellAgain) {
      this.#log.debug('write_back_failed', sentence, fields);
      return;
    }
    this.#log[same || lasting ? 'error' : 'warn']('write_back_failed', sentence, fields);
    this.#told = { reason, at: now };
  }

  recovered(failures: number): void {
    if (!this.#told) return;
    this.#told = undefined;
    this.#log.info('write_back_recovered', 'the live Secret could be written again', { failures });
  }

  volumeIsFine(): void {
    this.#problem = undefined;
  }

  /** Once for each lasting problem. @returns whether it is logged now */
  volumeIsNot(why: string): boolean {
    const now = performance.now();
    if (this.#problem?.why !== why) this.#problem = { why, since: now, told: false };
    if (this.#problem.told || now - this.#problem.since < patience) return false;
    this.#problem.told = true;
    this.#log.warn('credentials_unreadable', `cannot write the login back: ${why}`, {
      from: 'volume',
    });
    return true;
  }
}
