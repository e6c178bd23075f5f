/**
 * Keeps executable configuration (settings, hooks, skills ...) as it was at the start while CLIs run: what
 * a tool of one session writes there would run in all others. The directories are watched, and a change
 * is put back at once; the edit is saved in `conflicts/`.
 * Always holds: a process is started only while all of it is right, and is not used if any of it was
 * changed until the process was ready, for the CLI reads settings at its start. Later it reads a settings
 * file again only when that has not changed for a second (2.1.330); if a change lasts nearly so long, or
 * changes keep coming, all processes are ended.
 */
import { type FSWatcher, lstatSync, watch } from 'node:fs';
import { BerthError, messageOf } from '../../shared/errors.ts';
import { isExecutableConfiguration } from '../../shared/executable-configuration.ts';
import type { Log } from '../../shared/log.ts';
import { type Baseline, takeBaseline } from './baseline.ts';
import { Distrust } from './distrust.ts';
import { type Content, contentAt, findExecutable, isOfTheCli, statusAt } from './entries.ts';
import { PutBack } from './put-back.ts';

export const guardActions = ['restored', 'set_aside', 'failed'] as const;
export type GuardAction = (typeof guardActions)[number];

export interface GuardOptions {
  configDirectory: string;
  stateDirectory: string;
  log: Log;
  onAction: (action: GuardAction) => void;
  /** Processes may have read what was put back since. */
  onDistrust: () => void;
}

/** Milliseconds between looks without an event, where directories can be watched and where not. */
const usualInterval = 5_000;
const withoutWatch = 250;
const mostWatched = 1_000;

interface Watched {
  watcher: FSWatcher;
  /** Of the directory: another one in its place has to be watched anew. */
  inode: number;
}

export class ConfigurationGuard {
  readonly #options: GuardOptions;
  readonly #putBack: PutBack;
  readonly #distrust: Distrust;
  readonly #watchers = new Map<string, Watched>();
  /** What was right at the last look, by the numbers of its inode: it is not read again. */
  readonly #right = new Map<string, string>();
  /** What could not be put back, and why. */
  readonly #failed = new Map<string, string>();
  #baseline: Baseline = { files: new Map(), unguarded: new Set(), lost: [] };
  #mayHaveHooks = true;
  #changes = 0;
  #due: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;
  #started = false;

  constructor(options: GuardOptions) {
    this.#options = options;
    this.#putBack = new PutBack(options.configDirectory, options.stateDirectory);
    this.#distrust = new Distrust(options.onDistrust);
  }

  /** Call it while no CLI runs: what is there from now on has to stay. */
  async start(): Promise<void> {
    const { configDirectory, stateDirectory, log } = this.#options;
    this.#baseline = await takeBaseline(configDirectory, stateDirectory, log);
    const { files, unguarded, lost } = this.#baseline;
    this.#mayHaveHooks = unguarded.size > 0 || [...files].some(mayHaveHooks);
    if (unguarded.size > 0) {
      const paths = [...unguarded].slice(0, 20);
      const text = 'executable configuration is too large to be kept: an edit of it stays';
      log.warn('configuration_unkept', text, { count: unguarded.size, paths });
    }
    for (const path of lost) this.#fail(path, 'it is not as init has left it');
    this.#started = true;
    this.#look();
    this.#again();
  }

  stop(): void {
    this.#started = false;
    clearTimeout(this.#timer);
    clearImmediate(this.#due);
    for (const { watcher } of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** How often anything was changed: another number than before means that a process may have read it. */
  get changes(): number {
    return this.#changes;
  }

  /**
   * Whether any of it may have hooks: settings with hooks or plugins, or a skill, agent or command whose
   * header names some.
   */
  get mayHaveHooks(): boolean {
    return this.#mayHaveHooks;
  }

  /**
   * Looks now, and puts back what is wrong.
   * @throws BerthError `cli_unavailable` if something could not be put back
   */
  assertRight(): void {
    this.#look();
    const [first] = this.#failed;
    if (!first) return;
    const [path, why] = first;
    throw new BerthError(
      'cli_unavailable',
      `cannot start a worker: ${path} in the configuration directory was changed, and cannot be put back (${why}); restart the pod, so that init does, and see who may write there`,
    );
  }

  /**
   * @param changes as it was when a process was started
   * @throws BerthError `cli_unavailable` if something was changed since: the process may have read it
   */
  assertUnchanged(changes: number): void {
    this.assertRight();
    if (changes === this.#changes) return;
    throw new BerthError(
      'cli_unavailable',
      'cannot use a worker: executable configuration was changed while it started; it is put back, so try again',
    );
  }

  #look(): void {
    if (!this.#started) return;
    const { configDirectory: root } = this.#options;
    const found = findExecutable(root);
    const before = this.#changes;
    for (const [path, content] of this.#baseline.files) {
      const status = isOfTheCli(path) ? statusAt(`${root}/${path}`) : found.files.get(path);
      const mark = status && `${status.ino} ${status.size} ${status.mtimeMs} ${status.ctimeMs}`;
      if (mark !== undefined && this.#right.get(path) === mark) continue;
      if (status && isSame(contentAt(`${root}/${path}`), content)) {
        this.#right.set(path, mark as string);
        this.#failed.delete(path);
        continue;
      }
      this.#act('restored', path, status?.ctimeMs, () => this.#putBack.restore(path, content));
    }
    for (const [path, status] of found.files) {
      if (this.#baseline.files.has(path) || this.#baseline.unguarded.has(path)) continue;
      // It may have been cleared away for what has to be below it.
      if (statusAt(`${root}/${path}`)?.ino === status.ino) {
        this.#act('set_aside', path, status.ctimeMs, () => this.#putBack.setAside(path));
      }
    }
    this.#watch(found.directories);
    if (this.#changes !== before) this.#distrust.changed();
  }

  #act(
    action: 'restored' | 'set_aside',
    path: string,
    since: number | undefined,
    act: () => string | undefined,
  ): void {
    const { log, onAction } = this.#options;
    this.#changes += 1;
    if (since !== undefined) this.#distrust.since(since);
    try {
      const saved = act();
      this.#failed.delete(path);
      onAction(action);
      const text =
        action === 'restored'
          ? 'executable configuration was changed while CLIs run; it is put back'
          : 'executable configuration that was not there at the start is set aside';
      log.error('configuration_changed', text, { path, action, saved });
    } catch (error) {
      this.#fail(path, messageOf(error));
    }
  }

  #fail(path: string, why: string): void {
    if (this.#failed.has(path)) return;
    this.#failed.set(path, why);
    this.#options.onAction('failed');
    const text = 'executable configuration was changed and cannot be put back: no CLI is started';
    this.#options.log.error('configuration_changed', text, { path, action: 'failed', why });
  }

  /** Of the root only what concerns executable configuration is heard: the CLI writes there all the time. */
  #watch(directories: readonly string[]): void {
    const wanted = new Set(directories);
    for (const path of this.#baseline.files.keys()) {
      if (isOfTheCli(path)) wanted.add(path.slice(0, path.lastIndexOf('/')));
    }
    for (const [directory, { inode }] of this.#watchers) {
      const isSame = wanted.has(directory) && statusAt(this.#full(directory))?.ino === inode;
      if (!isSame) this.#forget(directory);
    }
    for (const directory of wanted) {
      if (this.#watchers.has(directory) || this.#watchers.size >= mostWatched) continue;
      try {
        const watcher = watch(this.#full(directory), (_, name) => {
          if (directory !== '' || name === null || isExecutableConfiguration(name)) this.#soon();
        });
        watcher.on('error', () => this.#forget(directory));
        this.#watchers.set(directory, { watcher, inode: lstatSync(this.#full(directory)).ino });
        // What came between the look and the watch.
        this.#soon();
      } catch {
        // It has gone, or there are no more watches: it is looked at now and then.
      }
    }
  }

  #forget(directory: string): void {
    this.#watchers.get(directory)?.watcher.close();
    this.#watchers.delete(directory);
  }

  #full(path: string): string {
    const { configDirectory } = this.#options;
    return path === '' ? configDirectory : `${configDirectory}/${path}`;
  }

  #soon(): void {
    this.#due ??= setImmediate(() => {
      this.#due = undefined;
      this.#look();
    });
  }

  #again(): void {
    const interval = this.#watchers.has('') ? usualInterval : withoutWatch;
    this.#timer = setTimeout(() => {
      this.#look();
      this.#again();
    }, interval);
    this.#timer.unref();
  }
}

function isSame(one: Content | undefined, other: Content): boolean {
  return (
    one?.kind === other.kind && one.executable === other.executable && one.bytes.equals(other.bytes)
  );
}

/** Plugins bring hooks of their own. */
function mayHaveHooks([path, { bytes }]: [string, Content]): boolean {
  return /\.(md|json)$/.test(path) && /hooks["']?\s*:|enabledPlugins/i.test(bytes.toString());
}
