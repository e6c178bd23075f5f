/**
 * The history of refresh tokens, by the first digits of their hashes: used up by a refresh, refused
 * by the login server, or restored once; and the first sight of each login. Stored on the volume.
 * Invariants: the history is bounded. A false entry, which the CLI could write, costs a second try,
 * never a login. An entry that cannot be stored counts until the restart.
 */
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
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
  readonly #fates: Record<Fate, LRUCache<string, true>> = {
    superseded: new LRUCache({ max: rememberedLogins }),
    refused: new LRUCache({ max: rememberedLogins }),
    put_back: new LRUCache({ max: rememberedLogins }),
  };
  readonly #since = new LRUCache<string, number>({ max: rememberedLogins });
  /**
   * Not in the list of logins: each refresh adds another login, which would remove a setup-token
   * from the list.
   */
  readonly #setupTokens = new LRUCache<string, number>({ max: rememberedSetupTokens });
  #failing = false;

  constructor(stateDirectory: string, log: Log) {
    this.#stateDirectory = stateDirectory;
    this.#path = join(stateDirectory, historyFile);
    this.#log = log;
  }

  /** @throws BerthError `volume_damaged` if a newer berth has written the file */
  async load(): Promise<void> {
    const read = await readLoginHistory(this.#stateDirectory);
    if (read.kind === 'damaged') {
      this.#log.warn('credentials_unreadable', 'the history of the login is lost', {
        path: this.#path,
      });
    }
    if (read.kind !== 'valid') return;
    for (const fate of ['superseded', 'refused', 'put_back'] as const) {
      for (const id of read.value[fate]) this.#fates[fate].set(id, true);
    }
    for (const [id, since] of Object.entries(read.value.since)) this.#since.set(id, since);
    for (const [id, since] of Object.entries(read.value.setup_tokens)) {
      this.#setupTokens.set(id, since);
    }
  }

  is(fate: Fate, id: string): boolean {
    return this.#fates[fate].has(id);
  }

  /** The entry is durable when this resolves, if the volume can be written. */
  async record(fate: Fate, id: string): Promise<void> {
    if (this.is(fate, id)) return;
    this.#fates[fate].set(id, true);
    await this.#store();
  }

  /** Removes an entry that was recorded beforehand and did not come true. */
  async withdraw(fate: Fate, id: string): Promise<void> {
    if (this.#fates[fate].delete(id)) await this.#store();
  }

  /** When a login or a setup-token was seen first, in ms since 1970. */
  since(id: string): number | undefined {
    return this.#setupTokens.peek(id) ?? this.#since.peek(id);
  }

  /** @param from the login from which this login was refreshed: the time counts from that login */
  async recordLogin(id: string, from?: string): Promise<void> {
    if (this.#since.has(id)) return;
    this.#since.set(id, (from && this.#since.peek(from)) || Date.now());
    await this.#store();
  }

  /** A setup-token in use is never forgotten: each call makes it the newest. */
  async recordSetupToken(id: string): Promise<void> {
    const isKnown = this.#setupTokens.has(id);
    this.#setupTokens.set(id, this.since(id) ?? Date.now());
    if (!isKnown) await this.#store();
  }

  async #store(): Promise<void> {
    const { superseded, refused, put_back } = this.#fates;
    const text = JSON.stringify({
      version: 1,
      superseded: oldestFirst(superseded),
      refused: oldestFirst(refused),
      put_back: oldestFirst(put_back),
      since: Object.fromEntries(this.#since.rentries()),
      setup_tokens: Object.fromEntries(this.#setupTokens.rentries()),
    });
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

function oldestFirst(known: LRUCache<string, true>): string[] {
  return [...known.rkeys()];
}
