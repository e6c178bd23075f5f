/**
 * Watches the CLI's credentials file: judges each write, logs it with its expiry, keeps the last
 * good one. Always holds: a token is never logged, a blank or torn file never replaces the last
 * good one, and the directory is watched, not the file (the CLI renames a new one into place).
 */
import { join } from 'node:path';
import chokidar, { type FSWatcher } from 'chokidar';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  type Judgement,
  judgeCredentials,
  tokensIn,
} from '../../shared/credentials.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { neverShow } from '../../shared/redact.ts';
import { lastGoodFile } from '../../shared/state-directory.ts';

export type CredentialsState = Judgement | { kind: 'missing' };

export interface CredentialsWatchOptions {
  configDirectory: string;
  /** Where the last good credentials are kept. */
  stateDirectory: string;
  log: Log;
  onChange?: (state: CredentialsState) => void;
  /** Milliseconds without a change after which a write counts as finished. */
  stable?: number;
}

/** Characters; real ones have a hundred. */
const shortestToken = 20;

export class CredentialsWatch {
  readonly #options: CredentialsWatchOptions;
  readonly #path: string;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> = Promise.resolve();
  #state: CredentialsState = { kind: 'missing' };
  #seen: string | undefined;

  constructor(options: CredentialsWatchOptions) {
    this.#options = options;
    this.#path = join(options.configDirectory, credentialsFileName);
  }

  get state(): CredentialsState {
    return this.#state;
  }

  /** Reads the file once and goes on watching. */
  async start(): Promise<void> {
    await this.#read();
    const { promise: ready, resolve } = Promise.withResolvers<void>();
    this.#watcher = chokidar.watch(this.#options.configDirectory, {
      depth: 0,
      ignoreInitial: true,
      followSymlinks: false,
      ignored: (path) => path !== this.#options.configDirectory && path !== this.#path,
    });
    this.#watcher.on('all', () => this.#settle());
    this.#watcher.on('error', (error) => {
      this.#options.log.error('credentials_unreadable', 'cannot watch the credentials', { error });
    });
    this.#watcher.once('ready', resolve);
    await ready;
  }

  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#watcher?.close();
    await this.#reading;
  }

  /** Writes come in bursts: the file is read once they have paused. */
  #settle(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#reading = this.#reading
        .then(() => this.#read())
        .catch((error: unknown) => {
          this.#options.log.error('credentials_unreadable', 'cannot judge the credentials', {
            error,
          });
        });
    }, this.#options.stable ?? 100);
  }

  async #read(): Promise<void> {
    const { log } = this.#options;
    let content: Buffer | undefined;
    try {
      content = await readFileBounded(this.#path, credentialsLimit);
    } catch (error) {
      log.error('credentials_unreadable', 'cannot read the credentials', { error });
      this.#seen = undefined;
      this.#become({ kind: 'torn', reason: 'it cannot be read' });
      return;
    }
    const state: CredentialsState = content ? judgeCredentials(content) : { kind: 'missing' };
    const seen = content?.toString('base64') ?? 'missing';
    if (seen === this.#seen) return;
    this.#seen = seen;
    this.#become(state);
    if (state.kind === 'valid') await this.#keep(state.credentials);
    this.#report(state);
  }

  #become(state: CredentialsState): void {
    this.#state = state;
    this.#options.onChange?.(state);
  }

  async #keep(credentials: Credentials): Promise<void> {
    // A short one is made up, and would be hidden wherever it stands as a word.
    for (const token of tokensIn(credentials)) if (token.length >= shortestToken) neverShow(token);
    try {
      const path = join(this.#options.stateDirectory, lastGoodFile);
      await writeFileAtomic(path, credentials.text, { mode: 0o600 });
    } catch (error) {
      this.#options.log.error('credentials_unreadable', 'cannot keep the last good credentials', {
        error,
      });
    }
  }

  #report(state: CredentialsState): void {
    const { log } = this.#options;
    switch (state.kind) {
      case 'valid': {
        const { expiresAt, refreshTokenExpiresAt, refreshTokenId } = state.credentials;
        log.info('credentials_seen', 'the credentials are valid', {
          state: state.kind,
          expires_at: new Date(expiresAt).toISOString(),
          login_expires_at: refreshTokenExpiresAt && new Date(refreshTokenExpiresAt).toISOString(),
          refresh_token_id: refreshTokenId,
        });
        break;
      }
      case 'missing':
        log.info('credentials_seen', 'there is no credentials file', { state: state.kind });
        break;
      case 'blank':
        log.error('credentials_seen', 'the CLI has blanked its credentials: log in again', {
          state: state.kind,
        });
        break;
      case 'torn':
        log.error('credentials_seen', `the credentials file is no good: ${state.reason}`, {
          state: state.kind,
        });
    }
  }
}
