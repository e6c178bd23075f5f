/**
 * Records which login replaced which in the CLI's file. A refresh uses up the earlier login; when
 * the CLI blanks its file, the login server has refused a login. Neither of these logins may be
 * restored.
 * Invariant: one refusal is recorded for each valid login.
 */
import { type Credentials, loginId } from '../../shared/credentials.ts';
import { isNewLogin } from '../../shared/credentials-memory.ts';
import type { Log } from '../../shared/log.ts';
import type { LoginHistory } from './history.ts';
import type { LastGood } from './last-good.ts';
import type { LoginFile } from './login-file.ts';

export interface RefreshLineageOptions {
  stateDirectory: string;
  file: Pick<LoginFile, 'takeOwn'>;
  history: LoginHistory;
  lastGood: Pick<LastGood, 'all'>;
  log: Log;
  onEvent?: ((event: 'refreshed' | 'adopted') => void) | undefined;
  /** Called when the CLI has blanked its file: the login server has refused a refresh. */
  onRefused?: (() => void) | undefined;
  /** The clock, ms since 1970. */
  now: () => number;
}

/** The CLI refreshes when less than this is left of an access token, in milliseconds. */
export const refreshMargin = 5 * 60_000;
/** Milliseconds after a refresh in which a refusal concerns the earlier token. */
const raceWindow = 60_000;

export class RefreshLineage {
  readonly #options: RefreshLineageOptions;
  /** The last valid login that was in the file, and since when. */
  #current: { credentials: Credentials; since: number } | undefined;
  /** Whether a refusal of the current login was recorded. */
  #refusalRecorded = false;
  #refreshedAt: number | undefined;

  constructor(options: RefreshLineageOptions) {
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

  /** Refusals do not count until the next valid login: the last good login waits to be restored. */
  suspend(): void {
    this.#refusalRecorded = true;
  }

  /** Call it for each valid login in the file. */
  async follow(credentials: Credentials): Promise<void> {
    const { stateDirectory, file, history, log, onEvent, now } = this.#options;
    const before = this.#current?.credentials;
    const id = loginId(credentials);
    const isOwn = file.takeOwn(credentials);
    this.#current = { credentials, since: now() };
    this.#refusalRecorded = false;
    const isAnother = before !== undefined && loginId(before) !== id && !isOwn;
    const isNew = isAnother && (await isNewLogin(stateDirectory, credentials));
    const refreshed = isAnother && !isNew;
    await history.recordLogin(id, refreshed ? loginId(before) : undefined);
    if (isNew) {
      onEvent?.('adopted');
      log.info('credentials_applied', 'adopted the login of `berth login`', {
        refresh_token_id: credentials.refreshTokenId,
      });
    }
    if (!refreshed) return;
    this.#refreshedAt = now();
    onEvent?.('refreshed');
    await history.record('superseded', loginId(before));
  }

  /** To be called when the CLI has blanked its file. Records the login that was refused. */
  async refused(): Promise<void> {
    if (this.#refusalRecorded) return;
    this.#refusalRecorded = true;
    const { history, lastGood, onRefused, now } = this.#options;
    // A file that was blank at the start was refused before.
    if (this.#current) onRefused?.();
    // At the start, as in init: the last good login counts as refused.
    const credentials = this.#current?.credentials ?? (await lastGood.all())[0];
    if (!credentials) return;
    const since = this.#current?.since ?? 0;
    const isDue = credentials.expiresAt - refreshMargin <= now();
    // A fresh login is not refreshed: the login server has refused the earlier login for another
    // process.
    if (isDue || now() - since > raceWindow) await history.record('refused', loginId(credentials));
  }
}
