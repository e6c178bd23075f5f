/**
 * The API tokens of a running server: read at the start, and again every second. The file is polled, not
 * watched: Kubernetes replaces a Secret by changing a link to a directory, and watchers miss that.
 * Invariants: if the file is invalid or missing, the tokens stay as they were. If the file holds no
 * token, every request is refused. A token is revoked when two reads in a row find the same tokens
 * without it: a shell empties a file before the program that writes it has started.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { asBerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import {
  type ApiToken,
  type Bearer,
  bearerOf,
  idOf,
  type ReadTokens,
  readTokens,
  type Tokens,
} from './tokens.ts';

export class TokenFile implements Tokens {
  readonly #path: string;
  readonly #log: Log;
  readonly #warned = new Set<string>();
  readonly #closing = new AbortController();
  readonly #listeners = new Set<() => void>();
  #tokens: ApiToken[] = [];
  #ids = new Set<string>();
  /** The ids of the last read, if a known id was missing from it. */
  #unconfirmed: string | undefined;
  /** Why the last read failed: the failure is logged once, not every second. */
  #failure: string | undefined;
  #watching: Promise<void> = Promise.resolve();

  private constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  /**
   * @param interval milliseconds between two reads
   * @throws BerthError `config_invalid`
   */
  static async open(path: string, log: Log, interval = 1_000): Promise<TokenFile> {
    const file = new TokenFile(path, log);
    file.#take(await readTokens(path));
    file.#watching = file.#watch(interval);
    return file;
  }

  find(presented: string): Bearer | undefined {
    return bearerOf(this.#tokens, presented);
  }

  knows(id: string): boolean {
    return this.#ids.has(id);
  }

  names(): string[] {
    return [...new Set(this.#tokens.map(({ name }) => name))];
  }

  onRevoked(listener: () => void): void {
    this.#listeners.add(listener);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#watching;
  }

  async #watch(interval: number): Promise<void> {
    const { signal } = this.#closing;
    try {
      // No interval: after a slow read its missed ticks would follow without a pause.
      for (;;) {
        await delay(interval, undefined, { signal, ref: false });
        await this.readAgain();
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Reads the file now; never rejects. */
  async readAgain(): Promise<void> {
    try {
      const read = await readTokens(this.#path);
      if (!this.#isConfirmed(read.tokens)) return;
      this.#take(read);
      this.#failure = undefined;
    } catch (thrown) {
      const error = asBerthError(thrown);
      const none = error.details.tokens === 0;
      if (!none) this.#unconfirmed = undefined;
      else if (!this.#isConfirmed([])) return;
      if (error.message === this.#failure) return;
      this.#failure = error.message;
      if (none) this.#replace([]);
      const what = none ? 'every request is refused' : 'the API tokens stay unchanged';
      this.#log.error('tokens_loaded', what, { error });
    }
  }

  /** Whether the tokens may count: none that is known is missing, or the last read has found the same tokens. */
  #isConfirmed(tokens: readonly ApiToken[]): boolean {
    const found = new Set(tokens.map(idOf));
    const text = [...found].join();
    const isSame = text === this.#unconfirmed;
    const isComplete = [...this.#ids].every((id) => found.has(id));
    this.#unconfirmed = isComplete || isSame ? undefined : text;
    return isComplete || isSame;
  }

  #replace(tokens: ApiToken[]): void {
    const before = this.#ids;
    this.#tokens = tokens;
    this.#ids = new Set(tokens.map(idOf));
    if ([...before].every((id) => this.#ids.has(id))) return;
    for (const listener of this.#listeners) listener();
  }

  #take({ tokens, plain }: ReadTokens): void {
    if (sameTokens(tokens, this.#tokens)) return;
    this.#replace(tokens);
    this.#log.info('tokens_loaded', `${tokens.length} API tokens`, {
      names: tokens.map(({ name }) => name),
    });
    for (const name of plain) {
      if (this.#warned.has(name)) continue;
      this.#warned.add(name);
      this.#log.warn(
        'token_plain',
        `the API token ${name} is stored in plain text; replace its line by the output of \`berth token ${name}\``,
      );
    }
  }
}

function sameTokens(a: readonly ApiToken[], b: readonly ApiToken[]): boolean {
  return a.map(idOf).join() === b.map(idOf).join();
}
