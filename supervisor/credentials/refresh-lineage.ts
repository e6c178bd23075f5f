/**
 * Which login follows which in the CLI's file: what a refresh has replaced is used up, and when the CLI
 * blanks its file the login server has refused one. Both are noted, so that none of them is put back.
 * Always holds: a refusal is judged once for each valid login.
 */
import { type Credentials, loginId } from '../../shared/credentials.ts';
import type { Log } from '../../shared/log.ts';
import type { LoginHistory } from './history.ts';
import type { LastGood } from './last-good.ts';
import type { LoginFile } from './login-file.ts';
import { isNewLogin } from './new-login.ts';

export interface SuccessionOptions {
  stateDirectory: string;
  file: LoginFile;
  history: LoginHistory;
  lastGood: LastGood;
  log: Log;
  onEvent?: ((event: 'refreshed' | 'adopted') => void) | undefined;
  /** Told when the CLI has blanked its file: the login server has refused a refresh. */
  onRefused?: (() => void) | undefined;
  /** The clock, ms since 1970. */
  now: () => number;
}

/** The CLI refreshes when less than this is left of an access token, in milliseconds. */
export const refreshMargin = 5 * 60_000;
/** Milliseconds after a refresh in which a refusal is meant for the token before it. */
const raceWindow = 60_000;

export class Succession {
  readonly #options: SuccessionOptions;
  /** The valid one that was there last, and since when. */
  #current: { credentials: Credentials; since: number } | undefined;
  /** Whether a refusal was told since then: what the file becomes afterwards tells nothing of it. */
  #refusalJudged = false;
  #refreshedAt: number | undefined;

  constructor(options: SuccessionOptions) {
    this.#options = options;
  }

  /** When a refresh was seen last, ms since 1970; undefined if none was since the start. */
  get refreshedAt(): number | undefined {
    return this.#refreshedAt;
  }

  /** Whether there was a valid login since the start. */
  get hasBegun(): boolean {
    return this.#current !== undefined;
  }

  /** A refusal from now on is of no login: the one that was there waits to be put back. */
  suspend(): void {
    this.#refusalJudged = true;
  }

  /** Valid ones follow others: what they replace is used up, unless berth itself replaced it. */
  async follow(credentials: Credentials): Promise<void> {
    const { stateDirectory, file, history, log, onEvent, now } = this.#options;
    const before = this.#current?.credentials;
    const id = loginId(credentials);
    const brought = file.wasBrought(credentials);
    this.#current = { credentials, since: now() };
    this.#refusalJudged = false;
    const another = before !== undefined && loginId(before) !== id && !brought;
    const anew = another && (await isNewLogin(stateDirectory, credentials));
    const refreshed = another && !anew;
    await history.noteFirst(id, refreshed ? loginId(before) : undefined);
    if (anew) {
      onEvent?.('adopted');
      log.info('credentials_applied', 'took the login made by `berth login`', {
        refresh_token_id: credentials.refreshTokenId,
      });
    }
    if (!refreshed) return;
    this.#refreshedAt = now();
    onEvent?.('refreshed');
    await history.note('superseded', loginId(before));
  }

  /** The CLI blanks its file when the login server refuses its refresh token. Which one was it? */
  async refused(): Promise<void> {
    if (this.#refusalJudged) return;
    this.#refusalJudged = true;
    const { history, lastGood, onRefused, now } = this.#options;
    // One that was blank at the start was refused before.
    if (this.#current) onRefused?.();
    // After a start nobody knows how it came: init's rule, the last good one was refused.
    const credentials = this.#current?.credentials ?? (await lastGood.all())[0];
    if (!credentials) return;
    const since = this.#current?.since ?? 0;
    const due = credentials.expiresAt - refreshMargin <= now();
    // One that is fresh was not asked for again: another process was refused its forerunner.
    if (due || now() - since > raceWindow) await history.note('refused', loginId(credentials));
  }
}
