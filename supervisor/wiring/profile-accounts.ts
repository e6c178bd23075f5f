/**
 * Finds the logins of profiles that belong to another account than before, such as after a Secret was rotated. The login
 * file has its own rule, in account-changes.ts.
 * Invariant: a login that cannot be read, or that no profile has, keeps the account that it had.
 */
import { accountOf, loginOf } from '../profiles/login.ts';
import type { Profile } from '../profiles/profile.ts';

/** What stands for the account of each login; undefined if the login cannot be read or compared. */
export type ProfileLogins = ReadonlyMap<string, string | undefined>;

export class ProfileAccounts {
  readonly #current: () => ProfileLogins;
  readonly #known = new Map<string, string>();

  constructor(current: () => ProfileLogins) {
    this.#current = current;
    this.changed();
  }

  /** The logins that have another account than at the last call. A login that is read for the first time has not. */
  changed(): string[] {
    const changed: string[] = [];
    for (const [login, account] of this.#current()) {
      if (account === undefined) continue;
      const before = this.#known.get(login);
      this.#known.set(login, account);
      if (before !== undefined && before !== account) changed.push(login);
    }
    return changed;
  }
}

/** The logins of the profiles with the account of each. */
export function profileLoginsOf(
  profiles: readonly Profile[],
  inherited: Readonly<Record<string, string | undefined>>,
): ProfileLogins {
  const logins = new Set(profiles.map(loginOf));
  return new Map([...logins].map((login) => [login, accountOf(login, profiles, inherited)]));
}
