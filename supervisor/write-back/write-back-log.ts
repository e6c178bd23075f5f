/**
 * Logs the write-back: each decision, and a failure once and then every ten minutes.
 * Invariant: no token is logged; a login is named by the first digits of its refresh token's hash.
 */
import type { Log } from '../../shared/log.ts';
import type { WriteBackFailure } from './api-failure.ts';
import type { Decision } from './decide.ts';
import type { VolumeLogin } from './volume.ts';

/** Milliseconds after which the same failure is logged as one again. */
const repeatAfter = 10 * 60_000;
/** Milliseconds: a file that is being written cannot be read for a moment. */
const patience = 1_000;

/** Why nothing was written. */
const kept: Record<Exclude<Decision, 'write'>, string> = {
  same: 'the live Secret already has this login',
  expires_later:
    "did not write the volume's login: the live Secret has another login, which expires later; if that login is old, empty the live Secret",
  used_up:
    "did not write the volume's login: it is used up or was refused; the live Secret keeps its login",
};

export class WriteBackLog {
  readonly #log: Log;
  #failure: { reason: string; at: number } | undefined;
  #problem: { cause: string; since: number; logged: boolean } | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** @param milliseconds since the login was seen */
  decided(decision: Decision, { credentials, source }: VolumeLogin, milliseconds: number): void {
    const facts = {
      refresh_token_id: credentials.refreshTokenId,
      expires_at: new Date(credentials.expiresAt).toISOString(),
      source_digest: source?.digest,
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
    const isSame = this.#failure?.reason === reason;
    const text = `cannot write the login back: ${message}`;
    const fields = { reason, status, ...facts };
    if (isSame && now - (this.#failure?.at ?? 0) < repeatAfter) {
      this.#log.debug('write_back_failed', text, fields);
      return;
    }
    this.#log[isSame || lasting ? 'error' : 'warn']('write_back_failed', text, fields);
    this.#failure = { reason, at: now };
  }

  /** Logs that the failures are over, if one was logged. */
  recovered(failures: number): void {
    if (!this.#failure) return;
    this.#failure = undefined;
    this.#log.info('write_back_recovered', 'the live Secret could be written again', { failures });
  }

  volumeIsReadable(): void {
    this.#problem = undefined;
  }

  /** Logs once for each problem that lasts. @returns whether the problem lasts */
  volumeIsUnreadable(cause: string): boolean {
    const now = performance.now();
    if (this.#problem?.cause !== cause) this.#problem = { cause, since: now, logged: false };
    if (now - this.#problem.since < patience) return false;
    if (this.#problem.logged) return true;
    this.#problem.logged = true;
    const facts = { from: 'volume' };
    this.#log.warn('credentials_unreadable', `cannot write the login back: ${cause}`, facts);
    return true;
  }
}
