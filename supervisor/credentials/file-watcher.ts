/**
 * Reports that the login file may have changed: after its writes have paused, and also every few
 * seconds.
 * Invariants: the directory is watched, not the file, because the CLI renames a new file into
 * place. A watcher that fails, or never becomes ready, delays a report by seconds and loses none.
 * Nothing is reported after the stop.
 */
import chokidar, { type FSWatcher } from 'chokidar';
import type { Log } from '../../shared/log.ts';
import { withDeadline } from '../../shared/waiting.ts';

export interface FileWatcherOptions {
  directory: string;
  /** Of the file in that directory. */
  path: string;
  log: Log;
  onChange: () => void;
  /** Milliseconds without a change after which a write counts as finished. */
  settle?: number | undefined;
  /** Milliseconds between two reports, independent of the watcher. */
  interval?: number | undefined;
  /** Milliseconds until the watcher must be ready; after that the intervals alone do. */
  readyWithin?: number | undefined;
  /** Watches a directory; chokidar's, if none is given. */
  watcher?: typeof chokidar.watch | undefined;
}

export class FileWatcher {
  readonly #options: FileWatcherOptions;
  #watcher: FSWatcher | undefined;
  #settling: NodeJS.Timeout | undefined;
  #interval: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: FileWatcherOptions) {
    this.#options = options;
  }

  /** Resolves when the watcher is ready, or late. */
  async start(): Promise<void> {
    const { directory, path, log, onChange } = this.#options;
    const { watcher = chokidar.watch, readyWithin = 5_000, interval = 2_000 } = this.#options;
    const { promise: ready, resolve } = Promise.withResolvers<void>();
    this.#watcher = watcher(directory, {
      depth: 0,
      ignoreInitial: true,
      followSymlinks: false,
      ignored: (each) => each !== directory && each !== path,
    });
    this.#watcher.on('all', () => this.reportSoon());
    this.#watcher.on('error', (error) => {
      const text = 'cannot watch the credentials; the file is read every few seconds instead';
      log.warn('credentials_unreadable', text, { error, interval_ms: interval });
    });
    this.#watcher.once('ready', resolve);
    // During a write, the report comes when the write has paused.
    this.#interval = setInterval(() => this.#settling ?? onChange(), interval);
    await withDeadline(ready, readyWithin, () => 'late').catch(() => {
      const text = 'the watcher of the credentials is not ready; the file is read at intervals';
      log.warn('credentials_unreadable', text, { interval_ms: interval });
    });
  }

  /** Writes come in bursts: reports once they have paused. */
  reportSoon(): void {
    if (this.#stopped) return;
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      this.#settling = undefined;
      this.#options.onChange();
    }, this.#options.settle ?? 100);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#interval);
    clearTimeout(this.#settling);
    await this.#watcher?.close();
  }
}
