/**
 * When the login file is to be looked at: once its writes have paused, and every two seconds all the same.
 * Always holds: the directory is watched, not the file (the CLI renames a new one into place); a watcher
 * that fails, is never ready or tells nothing costs seconds, never a change; nothing is due after the stop.
 */
import chokidar, { type FSWatcher } from 'chokidar';
import type { Log } from '../../shared/log.ts';

export interface LooksOptions {
  directory: string;
  path: string;
  log: Log;
  onDue: () => void;
  /** Milliseconds without a change after which a write counts as finished. */
  stable?: number | undefined;
  /** Milliseconds between two looks, whatever the watcher tells or misses. */
  look?: number | undefined;
  /** Milliseconds at most until the watcher is ready; afterwards the looks do alone. */
  ready?: number | undefined;
  /** Watches a directory; chokidar's, if none is given. */
  watcher?: typeof chokidar.watch | undefined;
}

export class Looks {
  readonly #options: LooksOptions;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looks: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: LooksOptions) {
    this.#options = options;
  }

  /** Returns when the watcher is ready, or late. */
  async start(): Promise<void> {
    const { promise: ready, resolve } = Promise.withResolvers<void>();
    const { directory, path, log, onDue } = this.#options;
    const { watcher = chokidar.watch, ready: atMost = 5_000, look = 2_000 } = this.#options;
    this.#watcher = watcher(directory, {
      depth: 0,
      ignoreInitial: true,
      followSymlinks: false,
      ignored: (each) => each !== directory && each !== path,
    });
    this.#watcher.on('all', () => this.soon());
    this.#watcher.on('error', (error) => {
      log.error('credentials_unreadable', 'cannot watch the credentials', { error });
    });
    this.#watcher.once('ready', resolve);
    // A write that is just being told is read when it has paused.
    this.#looks = setInterval(() => this.#timer ?? onDue(), look);
    const late = setTimeout(() => {
      const sentence = 'the watcher of the credentials is not ready: the file is looked at instead';
      log.warn('credentials_unreadable', sentence, { interval_ms: look });
      resolve();
    }, atMost);
    await ready;
    clearTimeout(late);
  }

  /** Writes come in bursts: the file is read once they have paused. */
  soon(): void {
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#options.onDue();
    }, this.#options.stable ?? 100);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#looks);
    clearTimeout(this.#timer);
    await this.#watcher?.close();
  }
}
