/**
 * The API tokens of a running server: read at the start, and again every second. They are looked at
 * instead of watched: a Secret is swapped by a link to a directory, on any file system, and watchers
 * miss that.
 * Always holds: a file that is broken or gone leaves the tokens as they were; one that holds none lets
 * nobody in.
 */
import { setInterval as every } from 'node:timers/promises';
import { asBerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { type ApiToken, nameOfToken, type ReadTokens, readTokens } from './tokens.ts';

export class TokenFile {
  readonly #path: string;
  readonly #log: Log;
  readonly #warned = new Set<string>();
  readonly #closing = new AbortController();
  #tokens: ApiToken[] = [];
  /** Why the file could not be read when it was last looked at: said once, not every second. */
  #failure: string | undefined;
  #watching: Promise<void> = Promise.resolve();

  private constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  /**
   * @param interval milliseconds between two looks
   * @throws BerthError `config_invalid`
   */
  static async open(path: string, log: Log, interval = 1_000): Promise<TokenFile> {
    const file = new TokenFile(path, log);
    file.#take(await readTokens(path));
    file.#watching = file.#watch(interval);
    return file;
  }

  /** Who bears this token; undefined for nobody. */
  nameOf(presented: string): string | undefined {
    return nameOfToken(this.#tokens, presented);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#watching;
  }

  async #watch(interval: number): Promise<void> {
    const { signal } = this.#closing;
    try {
      for await (const _ of every(interval, undefined, { signal, ref: false })) await this.#look();
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #look(): Promise<void> {
    try {
      this.#take(await readTokens(this.#path));
      this.#failure = undefined;
    } catch (thrown) {
      const error = asBerthError(thrown);
      if (error.message === this.#failure) return;
      this.#failure = error.message;
      const none = error.details.tokens === 0;
      if (none) this.#tokens = [];
      const what = none ? 'nobody may call any more' : 'the API tokens stay as they were';
      this.#log.error('tokens_loaded', what, { error });
    }
  }

  #take({ tokens, plain }: ReadTokens): void {
    if (sameTokens(tokens, this.#tokens)) return;
    this.#tokens = tokens;
    this.#log.info('tokens_loaded', `${tokens.length} API tokens`, {
      names: tokens.map(({ name }) => name),
    });
    for (const name of plain) {
      if (this.#warned.has(name)) continue;
      this.#warned.add(name);
      this.#log.warn(
        'token_plain',
        `the API token ${name} is stored in plain text; replace its line by the one that \`berth token ${name}\` prints`,
      );
    }
  }
}

function sameTokens(a: readonly ApiToken[], b: readonly ApiToken[]): boolean {
  const text = ({ name, digest }: ApiToken): string => `${name}:${digest.toString('hex')}`;
  return a.map(text).join() === b.map(text).join();
}
