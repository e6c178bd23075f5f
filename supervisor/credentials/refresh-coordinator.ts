/**
 * Lets one turn at a time refresh the login. While the access token is about to expire, one turn
 * that needs the login goes first, and its process refreshes the token. Other turns wait until the
 * login has changed, the API has answered, or a time limit is reached.
 * Invariants: no turn waits longer than the limit. After a turn without a refresh, no turn waits
 * for a while. The locks of the CLI itself decide which process refreshes, so an error here costs
 * only a wait.
 */
import { loginRemedy } from '../../shared/credentials.ts';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { abortable, within } from '../../shared/waiting.ts';
import type { CredentialsState } from './login-file.ts';
import { refreshMargin } from './refresh-lineage.ts';

/** Why a due refresh did not happen, as far as berth can see. */
export type RefreshFailure =
  /** The login server refused the refresh token: the CLI has blanked its file. */
  | 'refused'
  /** A turn has failed because of it. */
  | 'failed'
  /** A turn was answered with the old access token, which is still good. */
  | 'postponed';

export interface RefreshCoordinatorOptions {
  /** The content of the login file; `check` reads the file now. */
  watch: { readonly state: CredentialsState; check(): Promise<void> };
  /** Whether settings.json provides another login, so that the file does not count. */
  elsewhere: () => Promise<boolean>;
  /** The answer to prompts while the login is lost. */
  refusal: () => BerthError | undefined;
  log: Log;
  onFailure: (reason: RefreshFailure) => void;
  /** The longest wait of a turn for the turn that goes first, in milliseconds. */
  bound?: number;
  /** Milliseconds without any wait after a turn without a refresh. */
  pause?: number;
  /** Milliseconds in which the refresh of another process may still arrive after a turn has failed. */
  patience?: number;
}

/** The turn that goes first. */
interface Leader {
  over: Promise<void>;
  end: () => void;
}

export class RefreshCoordinator {
  readonly options: RefreshCoordinatorOptions;
  #leader: Leader | undefined;
  /** Until then no turn waits, by performance.now(). */
  #openUntil = 0;
  #changed = Promise.withResolvers<void>();
  #generation = 0;

  constructor(options: RefreshCoordinatorOptions) {
    this.options = options;
  }

  /** Whether a refresh is due, and none was tried in vain lately. */
  get pending(): boolean {
    return this.due && performance.now() >= this.#openUntil;
  }

  /** Whether the CLI can refresh the login. */
  get renewable(): boolean {
    const { state } = this.options.watch;
    return state.kind === 'valid' && state.credentials.refreshTokenId !== undefined;
  }

  /** Whether the CLI would refresh the login now. */
  get due(): boolean {
    const { state } = this.options.watch;
    if (state.kind !== 'valid' || !this.renewable) return false;
    return state.credentials.expiresAt - refreshMargin <= Date.now();
  }

  /** Is incremented with each good login in the file, also if the same login returns. */
  get generation(): number {
    return this.#generation;
  }

  /** Call it when the file has changed, or the login is known to be lost. */
  changed(): void {
    if (this.options.watch.state.kind === 'valid') this.#generation += 1;
    if (!this.due) this.#leader?.end();
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Resolves when the turn may begin. @throws the signal's reason */
  async begin(signal: AbortSignal): Promise<TurnLogin> {
    let leader: Leader | undefined;
    while (leader === undefined && this.pending) {
      if (await this.options.elsewhere()) this.#open();
      else if (this.#leader) await abortable(this.#leader.over, signal);
      else if (this.pending) leader = this.#lead();
    }
    return new TurnLogin(this, leader);
  }

  /** To be called when the leader's turn has shown whether there was a refresh. */
  async settle(leader: Leader): Promise<void> {
    if (leader !== this.#leader) return;
    await this.options.watch.check().catch(() => undefined);
    if (this.due) this.#open();
    leader.end();
  }

  /** Resolves at the next change of the file, or after so many milliseconds. @throws the signal's reason */
  async change(milliseconds: number, signal: AbortSignal): Promise<void> {
    await within(this.#changed.promise, milliseconds, signal);
    signal.throwIfAborted();
  }

  #lead(): Leader {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const leader: Leader = {
      over,
      end: () => {
        if (this.#leader === leader) this.#leader = undefined;
        clearTimeout(late);
        resolve();
      },
    };
    const late = setTimeout(() => {
      this.#open();
      leader.end();
    }, this.options.bound ?? 10_000);
    this.#leader = leader;
    return leader;
  }

  #open(): void {
    this.#openUntil = performance.now() + (this.options.pause ?? 60_000);
  }
}

/**
 * The login of the file during one turn.
 * Invariants: methods reject only with the reason of a signal. At most one failure is counted for
 * each turn.
 */
class TurnLogin {
  readonly #coordinator: RefreshCoordinator;
  readonly #leader: Leader | undefined;
  readonly #before: string | undefined;
  #generation: number;
  #answered = false;
  #refused = false;

  constructor(coordinator: RefreshCoordinator, leader: Leader | undefined) {
    this.#coordinator = coordinator;
    this.#leader = leader;
    this.#before = this.#accessToken;
    this.#generation = coordinator.generation;
  }

  /** The API answers: a due refresh has happened by now, or could not. */
  answered(): void {
    if (this.#answered) return;
    this.#answered = true;
    if (this.#leader) void this.#coordinator.settle(this.#leader);
  }

  /**
   * Call it when the API has refused the login.
   * @returns true as soon as the file has another login than at the start of the turn: then try the
   * turn once more. False if the login is lost, or no other login arrives in time
   * @throws the signal's reason
   */
  async refused(signal: AbortSignal): Promise<boolean> {
    const { watch, refusal, elsewhere, patience = 3_000 } = this.#coordinator.options;
    if (await elsewhere()) return false;
    const end = performance.now() + patience;
    await watch.check().catch(() => undefined);
    for (;;) {
      const { generation } = this.#coordinator;
      if (generation !== this.#generation && watch.state.kind === 'valid') {
        this.#generation = generation;
        return true;
      }
      const left = end - performance.now();
      if (left <= 0 || refusal()) break;
      await this.#coordinator.change(left, signal);
    }
    this.#refused = true;
    return false;
  }

  /** The error for a turn that was not accepted, after `refused` has returned false. */
  explain(error: BerthError): BerthError {
    const lost = this.#coordinator.options.refusal();
    if (lost) return new BerthError(lost.code, lost.message, { details: error.details });
    if (!this.#refused || !this.#coordinator.renewable) return error;
    return new BerthError(
      'login_unavailable',
      `cannot answer the prompt: the login could not be refreshed, because the login server did not answer properly; try again later, the login is kept; if this continues for hours, ${loginRemedy}`,
      { details: { ...error.details, retry_after: 30 } },
    );
  }

  /** Call it when the turn has ended, with any outcome. */
  async over(): Promise<void> {
    if (this.#leader && (this.#answered || this.#refused)) {
      await this.#coordinator.settle(this.#leader);
    }
    this.#leader?.end();
    if (this.#refused) this.#report('failed', 'a turn has failed: its login was not refreshed');
    else if (this.#leader && this.#answered && (await this.#isUnchanged())) {
      this.#report('postponed', 'the access token is about to end and was not refreshed');
    }
  }

  async #isUnchanged(): Promise<boolean> {
    await this.#coordinator.options.watch.check().catch(() => undefined);
    return this.#coordinator.due && this.#accessToken === this.#before;
  }

  #report(reason: RefreshFailure, text: string): void {
    // The loss of a login is reported elsewhere.
    if (!this.#coordinator.renewable) return;
    const { onFailure, log } = this.#coordinator.options;
    onFailure(reason);
    log.warn('credentials_refresh_failed', text, { reason });
  }

  get #accessToken(): string | undefined {
    const { state } = this.#coordinator.options.watch;
    return state.kind === 'valid' ? state.credentials.accessTokenId : undefined;
  }
}
