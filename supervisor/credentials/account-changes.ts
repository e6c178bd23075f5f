/**
 * Decides whether a login that appears in the CLI's file may belong to another account than the login before. The file
 * does not name the account.
 * Invariant: a refresh, and a file that is written again, are no other account: what is known of the account's limits
 * stays.
 */
import { loginId } from '../../shared/credentials.ts';
import type { LoginHistory } from './history.ts';
import type { CredentialsState } from './login-file.ts';
import { refreshMargin } from './refresh-lineage.ts';

interface Seen {
  id: string;
  since: number | undefined;
  /** Of the access token, in milliseconds since 1970. */
  expiresAt: number;
}

export class AccountChanges {
  readonly #history: Pick<LoginHistory, 'since'>;
  readonly #now: () => number;
  #last: Seen | undefined;
  /** Whether there was no login after the last one: a person may have logged in since. */
  #wasLost = false;

  /** @param now milliseconds since 1970 */
  constructor(history: Pick<LoginHistory, 'since'>, now: () => number = Date.now) {
    this.#history = history;
    this.#now = now;
  }

  /** To be called with each state of the file. @returns true also for the first login */
  mayBeAnother(state: CredentialsState): boolean {
    if (state.kind !== 'valid') {
      // A torn file is about to be finished.
      if (state.kind !== 'torn') this.#wasLost = true;
      return false;
    }
    const { credentials } = state;
    const id = loginId(credentials);
    const seen = { id, since: this.#history.since(id), expiresAt: credentials.expiresAt };
    const isSame = this.#last?.id === id || this.#isRefreshOf(this.#last, seen);
    this.#last = seen;
    this.#wasLost = false;
    return !isSame;
  }

  /** The CLI refreshes a login that is about to expire. A person may log in at any time. */
  #isRefreshOf(last: Seen | undefined, seen: Seen): boolean {
    if (last === undefined || this.#wasLost || seen.since !== last.since) return false;
    return last.expiresAt - refreshMargin <= this.#now();
  }
}
