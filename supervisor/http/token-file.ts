/** The API tokens of a running server: read at the start, again when the file changes. */
import chokidar, { type FSWatcher } from 'chokidar';
import type { Log } from '../../shared/log.ts';
import { type ApiToken, nameOfToken, readTokens } from './tokens.ts';

export class TokenFile {
  readonly #path: string;
  readonly #log: Log;
  readonly #warned = new Set<string>();
  #tokens: ApiToken[] = [];
  #watcher: FSWatcher | undefined;

  private constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
  }

  /** @throws BerthError `config_invalid` */
  static async open(path: string, log: Log): Promise<TokenFile> {
    const file = new TokenFile(path, log);
    await file.#read();
    // Polling: a Secret is swapped by links that point elsewhere, on any file system.
    file.#watcher = chokidar.watch(path, {
      ignoreInitial: true,
      usePolling: true,
      interval: 1_000,
    });
    file.#watcher.on('all', () => void file.#reread());
    file.#watcher.on('error', () => undefined);
    return file;
  }

  /** Who bears this token; undefined for nobody. */
  nameOf(presented: string): string | undefined {
    return nameOfToken(this.#tokens, presented);
  }

  async close(): Promise<void> {
    await this.#watcher?.close();
  }

  async #read(): Promise<void> {
    const { tokens, plain } = await readTokens(this.#path);
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

  /** A file that cannot be read, or is half written, leaves the tokens as they were. */
  async #reread(): Promise<void> {
    try {
      await this.#read();
    } catch (error) {
      this.#log.error('tokens_loaded', 'the API tokens stay as they were', { error });
    }
  }
}
