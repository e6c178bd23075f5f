/**
 * What has become of earlier refresh tokens, by the first digits of their hashes: used up by a
 * refresh, refused by the login server, put back once. Kept on the volume over restarts.
 * Always holds: bounded; what the CLI may have written into it can cost a second try, never a login;
 * a note that cannot be stored still counts until the restart.
 */
import { join } from 'node:path';
import {
  historyFile,
  readLoginHistory,
  rememberedLogins,
  rememberedSetupTokens,
} from '../../shared/credentials-memory.ts';
import { writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';

export type Fate = 'superseded' | 'refused' | 'put_back';

export class LoginHistory {
  readonly #stateDirectory: string;
  readonly #path: string;
  readonly #log: Log;
  readonly #fates: Record<Fate, Set<string>> = {
    superseded: new Set(),
    refused: new Set(),
    put_back: new Set(),
  };

  #failing = false;
  readonly #since = new Map<string, number>();
  /** Apart from those of logins, of which each refresh brings another. */
  readonly #setupTokens = new Map<string, number>();

  constructor(stateDirectory: string, log: Log) {
    this.#stateDirectory = stateDirectory;
    this.#path = join(stateDirectory, historyFile);
    this.#log = log;
  }

  async load(): Promise<void> {
    const read = await readLoginHistory(this.#stateDirectory);
    if (read.kind === 'damaged') {
      this.#log.warn('credentials_unreadable', 'the history of the login is lost', {
        path: this.#path,
      });
    }
    if (read.kind !== 'valid') return;
    for (const fate of ['superseded', 'refused', 'put_back'] as const) {
      for (const id of read.value[fate]) this.#fates[fate].add(id);
    }
    for (const [id, since] of Object.entries(read.value.since)) this.#since.set(id, since);
    for (const [id, since] of Object.entries(read.value.setup_tokens)) {
      this.#setupTokens.set(id, since);
    }
  }

  is(fate: Fate, id: string): boolean {
    return this.#fates[fate].has(id);
  }

  /** Durable when it returns, if the volume can be written at all. */
  async note(fate: Fate, id: string): Promise<void> {
    const known = this.#fates[fate];
    if (known.has(id)) return;
    known.add(id);
    forgetOldest(known);
    await this.#store();
  }

  /** For what was noted beforehand, and has not come about. */
  async takeBack(fate: Fate, id: string): Promise<void> {
    if (this.#fates[fate].delete(id)) await this.#store();
  }

  /** When a login or a setup-token was seen first, ms since 1970. */
  since(id: string): number | undefined {
    return this.#setupTokens.get(id) ?? this.#since.get(id);
  }

  /** Counts from now, or from when the login was seen that it was refreshed from. */
  async noteFirst(id: string, from?: string): Promise<void> {
    if (this.#since.has(id)) return;
    this.#since.set(id, (from && this.#since.get(from)) || Date.now());
    forgetOldest(this.#since);
    await this.#store();
  }

  /** The first sight of a setup-token, from now on; none that is in use is ever forgotten. */
  async noteSetupToken(id: string): Promise<void> {
    const since = this.since(id) ?? Date.now();
    const known = this.#setupTokens.delete(id);
    this.#setupTokens.set(id, since);
    if (known) return;
    forgetOldest(this.#setupTokens, rememberedSetupTokens);
    await this.#store();
  }

  async #store(): Promise<void> {
    const { superseded, refused, put_back } = this.#fates;
    const lists = { superseded: [...superseded], refused: [...refused], put_back: [...put_back] };
    const since = Object.fromEntries(this.#since);
    const setup_tokens = Object.fromEntries(this.#setupTokens);
    const text = JSON.stringify({ version: 1, ...lists, since, setup_tokens });
    try {
      await writeFileAtomic(this.#path, text, { mode: 0o600 });
      this.#failing = false;
    } catch (error) {
      if (this.#failing) return;
      this.#failing = true;
      this.#log.error('credentials_unkept', 'cannot store the history of the login', { error });
    }
  }
}

function forgetOldest(
  known: Set<string> | Map<string, unknown>,
  remembered = rememberedLogins,
): void {
  for (const oldest of known.keys()) {
    if (known.size <= remembered) break;
    known.delete(oldest);
  }
}
