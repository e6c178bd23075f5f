/**
 * The login of the file during one turn: whether the API has accepted it, whether there is another one
 * by now, and what is told of a refresh that did not come about.
 * Always holds: never rejects but with the reason of a signal; counts one failure a turn at most.
 */
import { loginRemedy } from '../../shared/credentials.ts';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { CredentialsState } from './login-file.ts';

/** Why a refresh that was due has not come about, as far as can be seen from outside. */
export type RefreshFailure =
  /** The login server refused the refresh token: the CLI has blanked its file. */
  | 'refused'
  /** A turn has failed for it. */
  | 'failed'
  /** A turn was answered with the old access token, which is still good. */
  | 'postponed';

export interface RefreshTurnsOptions {
  /** What is in the login file; `look` reads it now. */
  watch: { readonly state: CredentialsState; look(): Promise<void> };
  /** Whether settings.json brings another login, so that the file does not count. */
  elsewhere: () => Promise<boolean>;
  /** The answer to prompts while the login is lost. */
  refusal: () => BerthError | undefined;
  log: Log;
  onFailure: (reason: RefreshFailure) => void;
  /** Milliseconds that others are held at most. */
  bound?: number;
  /** Milliseconds without holding anybody after a try that brought no refresh. */
  pause?: number;
  /** Milliseconds in which another process's refresh may still arrive after a turn has failed. */
  patience?: number;
}

/** The turn that goes first. */
export interface Leader {
  over: Promise<void>;
  end: () => void;
}

/** What one turn needs of the coordinator of refreshes. */
interface Refreshes {
  /** Another number each time that the file has another good login. */
  readonly generation: number;
  /** Whether the login is one that the CLI refreshes. */
  readonly renewable: boolean;
  /** Whether the CLI would refresh the login now. */
  readonly due: boolean;
  /** The leader's turn has shown whether there was a refresh. */
  settle(leader: Leader): Promise<void>;
  /** Resolves at the next change of the file, and after so many milliseconds. @throws the signal's reason */
  change(milliseconds: number, signal: AbortSignal): Promise<void>;
}

export class FileLoginUse {
  readonly #turns: Refreshes;
  readonly #options: RefreshTurnsOptions;
  readonly #leader: Leader | undefined;
  readonly #before: string | undefined;
  #generation: number;
  #answered = false;
  #refused = false;

  constructor(turns: Refreshes, options: RefreshTurnsOptions, leader: Leader | undefined) {
    this.#turns = turns;
    this.#options = options;
    this.#leader = leader;
    this.#before = this.#accessToken;
    this.#generation = turns.generation;
  }

  /** The API answers: whatever there was to be refreshed before is refreshed, or could not be. */
  answered(): void {
    if (this.#answered) return;
    this.#answered = true;
    if (this.#leader) void this.#turns.settle(this.#leader);
  }

  /**
   * The login was not accepted. True as soon as the file has another one than when the turn began: then
   * it is worth trying once more. False if it is lost, or none comes in time.
   * @throws the signal's reason
   */
  async refused(signal: AbortSignal): Promise<boolean> {
    const { watch, refusal, elsewhere, patience = 3_000 } = this.#options;
    if (await elsewhere()) return false;
    const end = performance.now() + patience;
    await watch.look().catch(() => undefined);
    for (;;) {
      const { generation } = this.#turns;
      if (generation !== this.#generation && watch.state.kind === 'valid') {
        this.#generation = generation;
        return true;
      }
      const left = end - performance.now();
      if (left <= 0 || refusal()) break;
      await this.#turns.change(left, signal);
    }
    this.#refused = true;
    return false;
  }

  /** What a turn that was not accepted has ended with, after `refused` has said no. */
  explain(error: BerthError): BerthError {
    const lost = this.#options.refusal();
    if (lost) return new BerthError(lost.code, lost.message, { details: error.details });
    if (!this.#refused || !this.#turns.renewable) return error;
    return new BerthError(
      'login_unavailable',
      `cannot answer the prompt: the login could not be refreshed, for the login server gave no answer that counts; try again later, the login is kept; if that goes on for hours, ${loginRemedy}`,
      { details: { ...error.details, retry_after: 30 } },
    );
  }

  /** To be called when the turn has ended, however. */
  async over(): Promise<void> {
    if (this.#leader && (this.#answered || this.#refused)) await this.#turns.settle(this.#leader);
    this.#leader?.end();
    if (this.#refused) this.#tell('failed', 'a turn has failed: its login was not refreshed');
    else if (this.#leader && this.#answered && (await this.#isUnchanged())) {
      this.#tell('postponed', 'the access token is about to end and was not refreshed');
    }
  }

  async #isUnchanged(): Promise<boolean> {
    await this.#options.watch.look().catch(() => undefined);
    return this.#turns.due && this.#accessToken === this.#before;
  }

  #tell(reason: RefreshFailure, text: string): void {
    // One that is lost is told as such.
    if (!this.#turns.renewable) return;
    this.#options.onFailure(reason);
    this.#options.log.warn('credentials_refresh_failed', text, { reason });
  }

  get #accessToken(): string | undefined {
    const { state } = this.#options.watch;
    return state.kind === 'valid' ? state.credentials.accessTokenId : undefined;
  }
}
