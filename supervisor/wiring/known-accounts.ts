/**
 * Keeps on the volume which accounts the logins had, to find out at a start that a login belongs to another account now.
 * Invariants: the file has digests and times, and no secret. Without a file, or for a login that cannot be read, no account
 * counts as another one.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { loginId } from '../../shared/credentials.ts';
import { messageOf } from '../../shared/errors.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import type { Login } from '../credentials/login.ts';
import { accountOf, commonLogin, loginOf } from '../profiles/login.ts';
import type { Profile } from '../profiles/profile.ts';

/** In berth's state. */
export const accountsFile = 'accounts.json';

/** What stands for the account of each login. */
export type Accounts = Readonly<Record<string, string>>;

const kept = z.object({ version: z.literal(1), accounts: z.record(z.string(), z.string()) });
const largest = 256 * 1024;

export class KnownAccounts {
  readonly #path: string;
  readonly #current: () => Accounts;
  readonly #log: Log;
  #saved: string | undefined;
  /** As the file has them. */
  #known: Accounts = {};

  constructor(stateDirectory: string, current: () => Accounts, log: Log) {
    this.#path = join(stateDirectory, accountsFile);
    this.#current = current;
    this.#log = log;
  }

  /** Whether a login has another account than when the accounts were saved. Never rejects. */
  async haveChanged(): Promise<boolean> {
    try {
      const content = await readFileBounded(this.#path, largest);
      if (content === undefined) return false;
      const { accounts } = kept.parse(JSON.parse(content.toString('utf8')));
      this.#known = accounts;
      return Object.entries(this.#current()).some(
        ([login, account]) => accounts[login] !== account,
      );
    } catch {
      return false;
    }
  }

  /** Saves the accounts of now, and for a login that cannot be read now the account of before. Never rejects. */
  async save(): Promise<void> {
    this.#known = { ...this.#known, ...this.#current() };
    const text = JSON.stringify({ version: 1, accounts: this.#known });
    if (text === this.#saved) return;
    try {
      await writeFileAtomic(this.#path, text, { mode: 0o600 });
      this.#saved = text;
    } catch (error) {
      const problem = `cannot save which accounts the logins have: ${messageOf(error)}; after a restart, jobs that wait for a limit may not continue with another account`;
      this.#log.warn('accounts_unsaved', problem, { path: this.#path });
    }
  }
}

/** The accounts of all logins that can be compared. A refresh of the login in the login file is the same account. */
export function accountsOf(
  profiles: readonly Profile[],
  inherited: Readonly<Record<string, string | undefined>>,
  credentials: Pick<Login, 'state'> & {
    watch: { history: Pick<Login['watch']['history'], 'since'> };
  },
): Accounts {
  const { state, watch } = credentials;
  const accounts: Record<string, string> = {};
  for (const login of new Set([commonLogin, ...profiles.map(loginOf)])) {
    const account = accountOf(login, profiles, inherited);
    if (account !== undefined) accounts[login] = account;
  }
  if (accounts[commonLogin] === undefined && state.kind === 'valid') {
    const since = watch.history.since(loginId(state.credentials));
    if (since !== undefined) accounts[commonLogin] = `since ${since}`;
  }
  return accounts;
}
