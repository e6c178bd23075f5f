/**
 * Keeps executable configuration (settings, hooks, skills ...) unchanged while CLIs run: a change
 * by a tool of one session would run in all others. The directories are watched, and a change is
 * reverted immediately; the edit is saved in `conflicts/`.
 * Invariants: a process is started only while everything is right. A process is not used if
 * anything was changed before it became ready, because the CLI reads settings at its start. Later
 * the CLI (2.1.330) reads a settings file only if the file has not changed for a second. If a
 * change lasts nearly that long, or changes keep coming, all processes are ended. Each check sees every entry: if there
 * are too many new ones, whole directories are moved away until the rest can be listed.
 */
import { BerthError, messageOf } from '../../shared/errors.ts';
import { isExecutableConfiguration } from '../../shared/executable-configuration.ts';
import type { Log } from '../../shared/log.ts';
import { type Baseline, mostAtStart, noBaseline, takeBaseline } from './baseline.ts';
import { DirectoryWatches } from './directory-watches.ts';
import { Distrust } from './distrust.ts';
import {
  type Content,
  contentAt,
  type Found,
  findExecutable,
  isOfTheCli,
  isOfThisTick,
  statusAt,
  statusBelow,
} from './entries.ts';
import { McpServers, serversFile } from './mcp-servers.ts';
import { PutBack } from './put-back.ts';

export const guardActions = ['restored', 'set_aside', 'failed'] as const;
export type GuardAction = (typeof guardActions)[number];

export interface GuardOptions {
  configDirectory: string;
  stateDirectory: string;
  log: Log;
  onAction: (action: GuardAction) => void;
  /** New entries that a check lists; absent: 5,000. */
  mostNew?: number;
  /** Called if processes may have read a configuration that was reverted since. */
  onDistrust: () => void;
}

/** Milliseconds between checks without an event, with and without watches. */
const usualInterval = 5_000;
const withoutWatch = 250;

/** New entries that a check lists, and how often a check moves entries away to get below that number. */
const usualMostNew = 5_000;
const mostPasses = 10;

export class ConfigurationGuard {
  readonly #options: GuardOptions;
  readonly #putBack: PutBack;
  readonly #servers: McpServers;
  readonly #distrust: Distrust;
  readonly #watches: DirectoryWatches;
  /**
   * Paths that were right at the last check, with their inode data: unchanged files are not read
   * again.
   */
  readonly #right = new Map<string, string>();
  /** Paths that the last check could not revert, with the reason. */
  #failed = new Map<string, string>();
  /** The same of the check before, so that each is logged once. */
  #failedBefore = new Map<string, string>();
  /** What cannot be right before the next `reload`, with the reason. */
  readonly #unrecoverable = new Map<string, string>();
  #baseline: Baseline = noBaseline();
  /** init changes the configuration: nothing is reverted. */
  #held = false;
  #mayHaveHooks = true;
  #changes = 0;
  #due: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;
  #started = false;

  constructor(options: GuardOptions) {
    this.#options = options;
    this.#putBack = new PutBack(options.configDirectory, options.stateDirectory);
    this.#servers = new McpServers(options.configDirectory);
    this.#distrust = new Distrust(options.onDistrust);
    // In the root only events of executable configuration count: the CLI writes there all the time.
    this.#watches = new DirectoryWatches(options.configDirectory, (directory, name) => {
      if (directory !== '' || name === null || isGuarded(name)) this.#soon();
    });
  }

  /** Call this while no CLI runs: the current state must stay from now on. */
  async start(): Promise<void> {
    const { configDirectory, stateDirectory, log } = this.#options;
    this.#baseline = await takeBaseline(configDirectory, stateDirectory, log);
    this.#describe();
    this.#servers.start();
    this.#started = true;
    this.#check();
    this.#again();
  }

  /** From now on init changes the configuration: nothing is reverted until `reload`. */
  hold(): void {
    this.#held = true;
  }

  /**
   * The end of `hold`: what init has recorded must stay from now on.
   * @returns false if a file differs from the record and there is no copy of it, or if there is no
   * readable record
   */
  async reload(): Promise<boolean> {
    if (!this.#started) return true;
    this.#held = true;
    const { configDirectory, stateDirectory, log } = this.#options;
    const before = this.#baseline;
    this.#baseline = await takeBaseline(configDirectory, stateDirectory, log, before);
    this.#right.clear();
    this.#failed.clear();
    this.#failedBefore.clear();
    this.#changes += 1;
    this.#describe();
    this.#held = false;
    this.#check();
    return this.#baseline !== before && this.#baseline.lost.length === 0;
  }

  #describe(): void {
    const { log } = this.#options;
    const { files, unguarded, lost, crowded } = this.#baseline;
    this.#unrecoverable.clear();
    this.#mayHaveHooks = unguarded.size > 0 || [...files].some(mayHaveHooks);
    if (unguarded.size > 0) {
      const paths = [...unguarded].slice(0, 20);
      const text =
        'executable configuration is too large to be guarded: an edit of it is not reverted';
      log.warn('configuration_unkept', text, { count: unguarded.size, paths });
    }
    for (const path of lost) {
      this.#fail(path, 'it differs from the version that init wrote', this.#unrecoverable);
    }
    if (crowded === undefined) return;
    this.#fail(
      crowded || 'the root',
      `there were more than ${mostAtStart} files and directories beside those of the repository at the start`,
      this.#unrecoverable,
    );
  }

  stop(): void {
    this.#started = false;
    clearTimeout(this.#timer);
    clearImmediate(this.#due);
    this.#watches.close();
  }

  /** The number of changes: if the number has increased, a process may have read a change. */
  get changes(): number {
    return this.#changes;
  }

  /**
   * Whether the configuration may contain hooks: settings with hooks or plugins, or a skill, agent
   * or command whose header names hooks.
   */
  get mayHaveHooks(): boolean {
    return this.#mayHaveHooks;
  }

  /**
   * Checks now, and reverts changes.
   * @throws BerthError `cli_unavailable` if a change could not be reverted
   */
  assertRight(): void {
    this.#check();
    const [first] = [...this.#unrecoverable, ...this.#failed];
    if (!first) return;
    const [path, why] = first;
    throw new BerthError(
      'cli_unavailable',
      `cannot start a worker: ${path} in the configuration directory was changed and cannot be reverted (${why}); restart the pod, so that init reverts it, and check which programs can write there`,
    );
  }

  /**
   * @param changes the value of `changes` when the process was started
   * @throws BerthError `cli_unavailable` if something was changed since: the process may have read
   * the change
   */
  assertUnchanged(changes: number): void {
    this.assertRight();
    if (changes === this.#changes) return;
    throw new BerthError(
      'cli_unavailable',
      'cannot use a worker: executable configuration was changed while it started; the change was reverted, so retry',
    );
  }

  #check(): void {
    if (!this.#started || this.#held) return;
    const { configDirectory: root } = this.#options;
    const before = this.#changes;
    this.#failedBefore = this.#failed;
    this.#failed = new Map();
    const found = this.#listAll();
    for (const [path, content] of this.#baseline.files) {
      const status = found.files.get(path) ?? statusBelow(root, path);
      const mark = status && `${status.ino} ${status.size} ${status.mtimeMs} ${status.ctimeMs}`;
      if (mark !== undefined && this.#right.get(path) === mark) continue;
      const tellsChanges = status !== undefined && !isOfThisTick(status);
      if (status && isSame(contentAt(`${root}/${path}`), content)) {
        if (tellsChanges) this.#right.set(path, mark as string);
        continue;
      }
      this.#act('restored', path, status?.ctimeMs, () => this.#putBack.restore(path, content));
    }
    // Of a start that was not listed completely nobody knows what is new.
    const added = this.#baseline.crowded === undefined ? found.files : [];
    for (const [path, status] of added) {
      if (this.#baseline.files.has(path) || this.#baseline.unguarded.has(path)) continue;
      // The file may have been removed to make space for a path below it.
      if (statusAt(`${root}/${path}`)?.ino === status.ino) {
        this.#act('set_aside', path, status.ctimeMs, () => this.#putBack.setAside(path));
      }
    }
    this.#lookAtServers();
    const ofTheCli = [...this.#baseline.files.keys()].filter(isOfTheCli).map(parentOf);
    // A directory that is watched now may have changed since it was listed.
    if (this.#watches.set([...found.directories, ...ofTheCli])) this.#soon();
    if (this.#changes !== before) this.#distrust.changed();
  }

  /** Moves entries away until there are few enough to be listed. */
  #listAll(): Found {
    let found = this.#list();
    for (let pass = 0; found.crowded !== undefined && pass < mostPasses; pass++) {
      this.#thin(found);
      found = this.#list();
    }
    const { crowded } = found;
    if (crowded !== undefined) {
      this.#fail(crowded, `there are more than ${this.#mostNew} new files and directories`);
    }
    return found;
  }

  get #mostNew(): number {
    return this.#options.mostNew ?? usualMostNew;
  }

  #list(): Found {
    const { files, unguarded, directories } = this.#baseline;
    const isKnown = (path: string) =>
      files.has(path) || unguarded.has(path) || directories.has(path);
    return findExecutable(this.#options.configDirectory, this.#mostNew, isKnown);
  }

  /** Moves new files and whole new directories away, those of one directory together. */
  #thin({ directories, files }: Found): void {
    const known = this.#baseline;
    // Of a start that was not listed completely nobody knows what is new.
    if (known.crowded !== undefined) return;
    const isNew = (path: string) =>
      !(known.directories.has(path) || known.files.has(path) || known.unguarded.has(path));
    const added = [...directories, ...files.keys()].filter(
      (path) => isNew(path) && known.directories.has(parentOf(path)),
    );
    for (const [parent, paths] of Map.groupBy(added, parentOf)) {
      const changed = paths.map((path) => statusAt(this.#full(path))?.ctimeMs ?? Infinity);
      this.#act(
        'set_aside',
        parent === '' ? (paths[0] as string) : parent,
        Math.min(...changed),
        () => this.#putBack.setAllAside(paths),
      );
    }
  }

  #lookAtServers(): void {
    const found = this.#servers.look();
    if (!found) return;
    const { changed, restored } = found;
    if (restored) {
      this.#act('restored', serversFile, changed, () =>
        this.#putBack.replace(serversFile, restored),
      );
    } else {
      this.#act('set_aside', serversFile, changed, () => this.#putBack.setAside(serversFile));
    }
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
      onAction(action);
      const text =
        action === 'restored'
          ? 'executable configuration was changed while CLIs run; the change was reverted'
          : 'new executable configuration was moved away';
      log.error('configuration_changed', text, { path, action, saved });
    } catch (error) {
      this.#fail(path, messageOf(error));
    }
  }

  #fail(path: string, why: string, list = this.#failed): void {
    const isKnown = list.has(path) || this.#failedBefore.has(path);
    list.set(path, why);
    if (isKnown) return;
    this.#options.onAction('failed');
    const text = 'executable configuration was changed and cannot be reverted: no CLI is started';
    this.#options.log.error('configuration_changed', text, { path, action: 'failed', why });
  }

  #full(path: string): string {
    const { configDirectory } = this.#options;
    return path === '' ? configDirectory : `${configDirectory}/${path}`;
  }

  #soon(): void {
    this.#due ??= setImmediate(() => {
      this.#due = undefined;
      this.#check();
    });
  }

  #again(): void {
    const interval = this.#watches.has('') ? usualInterval : withoutWatch;
    this.#timer = setTimeout(() => {
      this.#check();
      this.#again();
    }, interval);
    this.#timer.unref();
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

function isGuarded(name: string): boolean {
  return name === serversFile || isExecutableConfiguration(name);
}

function isSame(one: Content | undefined, other: Content): boolean {
  return (
    one?.kind === other.kind && one.executable === other.executable && one.bytes.equals(other.bytes)
  );
}

/** Plugins have their own hooks. */
function mayHaveHooks([path, { bytes }]: [string, Content]): boolean {
  return /\.(md|json)$/.test(path) && /hooks["']?\s*:|enabledPlugins/i.test(bytes.toString());
}
