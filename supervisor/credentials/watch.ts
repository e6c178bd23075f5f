/**
 * Watches the CLI's login file: judges each version of it, stores the last good login, records
 * which login replaced which (refresh-lineage.ts), and restores the last good login if the CLI has
 * none (last-good.ts).
 * Invariants: a token is never logged. A blank or torn file never replaces the last good login. One
 * action runs at a time. After the stop nothing is judged or written.
 */
import {
  type Credentials,
  hideTokens,
  isSameSource,
  judgeCredentials,
  loginId,
} from '../../shared/credentials.ts';
import type { Log } from '../../shared/log.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import { FileWatcher, type FileWatcherOptions } from './file-watcher.ts';
import { LoginHistory } from './history.ts';
import { LastGood, PutBack, type Waiting } from './last-good.ts';
import {
  type CredentialsState,
  LoginFile,
  LoginFileChanged,
  logState,
  type Snapshot,
  snapshotOf,
} from './login-file.ts';
import { RefreshLineage } from './refresh-lineage.ts';

/** The counted events: states of the file, and actions of berth. */
export const credentialsEvents = [
  ...(['valid', 'blank', 'torn', 'missing', 'older'] as const satisfies CredentialsState['kind'][]),
  ...(['refreshed', 'put_back', 'adopted'] as const),
] as const;

export type CredentialsEvent = (typeof credentialsEvents)[number];

export interface CredentialsWatchOptions
  extends Pick<FileWatcherOptions, 'settle' | 'interval' | 'readyWithin' | 'watcher'> {
  configDirectory: string;
  /** Where the last good logins and the history are kept. */
  stateDirectory: string;
  log: Log;
  onChange?: (state: CredentialsState) => void;
  onEvent?: (event: CredentialsEvent) => void;
  /** Called when the CLI has blanked its file: the login server has refused a refresh. */
  onRefused?: () => void;
  /**
   * Milliseconds until a torn or missing file is replaced, in which its writer may still finish it; and
   * between two tries to read a file that cannot be read.
   */
  patience?: number;
  /** Milliseconds that a login which is to be put back waits for the end of a refresh. */
  refreshPatience?: number;
  /** The clock, ms since 1970: Date.now(), if none is given. */
  now?: () => number;
  /** Milliseconds until a login that could not be put back is tried again; later tries wait longer. */
  pause?: number;
}

/** Reads in a row that may fail, for want of descriptors for example, until the login counts as lost. */
const mostFailedReads = 5;

export class CredentialsWatch {
  readonly history: LoginHistory;
  readonly #options: CredentialsWatchOptions;
  readonly #file: LoginFile;
  readonly #lastGood: LastGood;
  readonly #watcher: FileWatcher;
  readonly #putBack: PutBack;
  readonly #lineage: RefreshLineage;
  readonly #queue = new SerialQueue();
  #timer: NodeJS.Timeout | undefined;
  #state: CredentialsState = { kind: 'missing' };
  #lost = false;
  #stopped = false;
  /** The last judged content. */
  #judged: Snapshot;
  /** In a row. */
  #failedReads = 0;

  constructor(options: CredentialsWatchOptions) {
    this.#options = options;
    const { configDirectory, stateDirectory, log } = options;
    this.#file = new LoginFile(configDirectory, options.refreshPatience);
    this.#lastGood = new LastGood(stateDirectory, log);
    this.history = new LoginHistory(stateDirectory, log);
    const parts = { log, file: this.#file, history: this.history, lastGood: this.#lastGood };
    this.#watcher = new FileWatcher({
      ...options,
      ...{ directory: configDirectory, path: this.#file.path },
      onChange: () => this.#schedule(() => this.#read()),
    });
    this.#lineage = new RefreshLineage({
      ...{ ...parts, stateDirectory, now: options.now ?? Date.now },
      ...{ onEvent: options.onEvent, onRefused: options.onRefused },
    });
    this.#putBack = new PutBack({
      ...{ ...parts, pause: options.pause },
      onDue: () => this.#schedule(() => this.#giveUp()),
    });
  }

  get state(): CredentialsState {
    return this.#state;
  }

  /** Whether there was a login that is missing or unusable now: a person must log in. */
  get lost(): boolean {
    return this.#lost;
  }

  /** When a refresh was seen last, ms since 1970; undefined if none was since the start. */
  get refreshedAt(): number | undefined {
    return this.#lineage.refreshedAt;
  }

  /** A good login that cannot be put back yet. */
  get waiting(): Waiting | undefined {
    return this.#putBack.waiting;
  }

  /** Reads the file once and continues to watch it. @throws BerthError `volume_damaged` */
  async start(): Promise<void> {
    await this.history.load();
    await this.#queue.add(() => this.#read());
    await this.#watcher.start();
  }

  /** Resolves when what has begun has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#watcher.stop();
    await this.#queue.idle();
    clearTimeout(this.#timer);
    this.#putBack.cancel();
  }

  /** Reads the file now. Resolves when its content is the state; at once after the stop. */
  check(): Promise<void> {
    return this.#queue.add(() => this.#unlessStopped(() => this.#read()));
  }

  /**
   * Gives the CLI another login; the earlier login is stored, in case the new login is refused.
   * @throws BerthError `volume_unwritable`
   * @throws LoginFileChanged, RefreshUnderWay: nothing has changed, and the caller may retry
   */
  async adopt(credentials: Credentials): Promise<void> {
    // The caller has selected the new login over this one.
    const judged = this.#judged;
    await this.#queue.add(async () => {
      if (this.#stopped || this.#judged !== judged) throw new LoginFileChanged();
      const before = this.#state;
      if (this.#state.kind === 'valid') await this.#lastGood.keepReplaced(this.#state.credentials);
      await this.#file.replace(credentials, judged);
      // So that it can be put back.
      await this.#lastGood.keep(credentials);
      this.#options.onEvent?.('adopted');
      await this.#readAgain();
      if (!isAdopted(this.#state, credentials, before)) throw new LoginFileChanged();
    });
  }

  #schedule(work: () => Promise<void>): void {
    this.#queue
      .add(() => this.#unlessStopped(work))
      .catch((error: unknown) => {
        const { log } = this.#options;
        log.error('credentials_unreadable', 'cannot judge the credentials', { error });
      });
  }

  async #unlessStopped(work: () => Promise<void>): Promise<void> {
    if (!this.#stopped) await work();
  }

  async #read(): Promise<void> {
    let content: Buffer | undefined;
    try {
      content = await this.#file.read();
    } catch (error) {
      this.#readFailed(error);
      return;
    }
    this.#failedReads = 0;
    const found = snapshotOf(content);
    if (found === this.#judged) return this.#lastGood.retry();
    this.#judged = found;
    clearTimeout(this.#timer);
    if (this.waiting) this.#lineage.suspend();
    this.#putBack.cancel();
    const state = this.#judge(content);
    this.#options.onEvent?.(state.kind);
    logState(this.#options.log, state);
    await this.#follow(state);
  }

  /** After a write of berth: the content is judged in any case, since the CLI may have blanked the file again by now. */
  async #readAgain(): Promise<void> {
    this.#judged = undefined;
    if (!this.#stopped) await this.#read();
  }

  #readFailed(error: unknown): void {
    this.#judged = undefined;
    this.#failedReads += 1;
    if (this.#failedReads === 1) {
      const { log } = this.#options;
      log.error('credentials_unreadable', 'cannot read the credentials', { error });
    }
    if (this.#failedReads < mostFailedReads) this.#later(() => this.#read());
    else if (this.#failedReads === mostFailedReads) {
      this.#become({ kind: 'torn', reason: 'it cannot be read' }, true);
    }
  }

  #judge(content: Buffer | undefined): CredentialsState {
    if (content === undefined) return { kind: 'missing' };
    const judgement = judgeCredentials(content);
    if (judgement.kind !== 'valid') return judgement;
    const { credentials } = judgement;
    hideTokens(credentials);
    const isOlder = this.history.is('superseded', loginId(credentials));
    return isOlder ? { kind: 'older', credentials } : judgement;
  }

  async #follow(state: CredentialsState): Promise<void> {
    switch (state.kind) {
      case 'valid':
        await this.#lineage.follow(state.credentials);
        this.#become(state, false);
        await this.#lastGood.keep(state.credentials);
        break;
      case 'missing':
        // A login that was lost stays lost. A pod that never had a login waits for its first.
        this.#become(state, this.#lost);
        if (this.#lineage.hasBegun || (await this.#lastGood.all()).length > 0) {
          this.#later(() => this.#giveUp());
        }
        break;
      case 'torn':
        // A process may be writing it.
        this.#become(state, false);
        this.#later(() => this.#giveUp());
        break;
      case 'blank':
        await this.#lineage.refused();
        await this.#restore(state);
        break;
      case 'older':
        await this.#restore(state);
    }
  }

  /** Replaces the earlier schedule. */
  #later(work: () => Promise<void>): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#schedule(work), this.#options.patience ?? 1_000);
  }

  async #giveUp(): Promise<void> {
    const state = this.#state;
    // The file may have been written just now.
    await this.#read();
    if (this.#state !== state || this.#judged === undefined) return;
    await this.#restore(state);
  }

  /**
   * The login is lost, unless a good login can be restored, or another program has just written
   * one.
   */
  async #restore(state: CredentialsState): Promise<void> {
    const wasWaiting = this.waiting !== undefined;
    const outcome = await this.#putBack.try(state.kind, this.#judged);
    if (outcome === 'file_changed') {
      // The file is judged again, also if it has changed back by then.
      this.#judged = undefined;
      this.#watcher.reportSoon();
    } else if (outcome === 'put_back') {
      this.#options.onEvent?.('put_back');
      await this.#readAgain();
    } else if (outcome === 'none' || !wasWaiting) this.#become(state, true);
  }

  #become(state: CredentialsState, lost: boolean): void {
    this.#state = state;
    this.#lost = lost;
    this.#options.onChange?.(state);
  }
}

/** A third login in the file is a refresh of the new one, or was written since: it must not be replaced. */
function isAdopted(now: CredentialsState, adopted: Credentials, before: CredentialsState): boolean {
  if (now.kind !== 'valid') return false;
  const isOld = before.kind === 'valid' && isSameSource(now.credentials, before.credentials);
  return !isOld || isSameSource(now.credentials, adopted);
}
