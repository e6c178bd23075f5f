/**
 * Watches the CLI's login file: judges each write, tells it with its expiry, keeps the last good one, has
 * noted which follows which (succession.ts), and has the last good one put back (put-back.ts) where the CLI
 * was left with none.
 * Always holds: a token is never logged; a blank or torn file never replaces the last good one; it
 * is looked at when it changes, and all the same (looks.ts); after the stop nothing is judged or written.
 */
import { type Credentials, judgeCredentials, loginId, tokensIn } from '../../shared/credentials.ts';
import type { Log } from '../../shared/log.ts';
import { neverShow } from '../../shared/redact.ts';
import { Looks, type LooksOptions } from './file-watcher.ts';
import { LoginHistory } from './history.ts';
import { LastGood } from './last-good.ts';
import { type CredentialsState, LoginFile, Overtaken, type Seen, seenOf } from './login-file.ts';
import { tell } from './login-messages.ts';
import { PutBack, type Waiting } from './put-back.ts';
import { Succession } from './refresh-lineage.ts';

/** What is counted: what the file has become, and what was done with it. */
export const credentialsEvents = [
  ...(['valid', 'blank', 'torn', 'missing', 'older'] as const satisfies CredentialsState['kind'][]),
  ...(['refreshed', 'put_back', 'adopted'] as const),
] as const;

export type CredentialsEvent = (typeof credentialsEvents)[number];

export interface CredentialsWatchOptions
  extends Pick<LooksOptions, 'stable' | 'look' | 'ready' | 'watcher'> {
  configDirectory: string;
  /** Where the last good credentials are kept. */
  stateDirectory: string;
  log: Log;
  onChange?: (state: CredentialsState) => void;
  onEvent?: (event: CredentialsEvent) => void;
  /** Told when the CLI has blanked its file: the login server has refused a refresh. */
  onRefused?: () => void;
  /**
   * Milliseconds after which a torn or vanished file that nobody writes is given up, and between two tries to
   * read one that cannot be read.
   */
  patience?: number;
  /** The clock, ms since 1970: Date.now(), if none is given. */
  now?: () => number;
  /** Milliseconds until a put-back that failed is tried again; the next pauses are longer. */
  pause?: number;
}

/** Characters; real ones have a hundred. */
const shortestToken = 20;
/** So often in a row a read may fail, for want of descriptors for example, until the login is lost. */
const mostUnread = 5;

export class CredentialsWatch {
  readonly history: LoginHistory;
  readonly #options: CredentialsWatchOptions;
  readonly #file: LoginFile;
  readonly #lastGood: LastGood;
  readonly #looks: Looks;
  readonly #putBack: PutBack;
  readonly #succession: Succession;
  #patience: NodeJS.Timeout | undefined;
  #working: Promise<unknown> = Promise.resolve();
  #state: CredentialsState = { kind: 'missing' };
  #lost = false;
  #stopped = false;
  /** What was judged last. */
  #seen: Seen;
  /** Reads in a row that have failed. */
  #unread = 0;

  constructor(options: CredentialsWatchOptions) {
    this.#options = options;
    this.#file = new LoginFile(options.configDirectory);
    this.#lastGood = new LastGood(options.stateDirectory, options.log);
    this.history = new LoginHistory(options.stateDirectory, options.log);
    this.#looks = new Looks({
      ...options,
      directory: options.configDirectory,
      path: this.#file.path,
      onDue: () => this.#lookSoon(),
    });
    this.#succession = new Succession({
      ...{ stateDirectory: options.stateDirectory, file: this.#file, history: this.history },
      ...{ lastGood: this.#lastGood, log: options.log, now: options.now ?? Date.now },
      ...{ onEvent: options.onEvent, onRefused: options.onRefused },
    });
    this.#putBack = new PutBack({
      ...{ file: this.#file, history: this.history, lastGood: this.#lastGood, log: options.log },
      onDue: () => this.#soon(() => this.#giveUp()),
      pause: options.pause,
    });
  }

  get state(): CredentialsState {
    return this.#state;
  }

  /** Whether there was a login that is gone or cannot be used any more: a person must log in. */
  get lost(): boolean {
    return this.#lost;
  }

  /** When a refresh was seen last, ms since 1970; undefined if none was since the start. */
  get refreshedAt(): number | undefined {
    return this.#succession.refreshedAt;
  }

  /** Of a good login that cannot be put back yet: the volume cannot be written, or a refresh is under way. */
  get waiting(): Waiting | undefined {
    return this.#putBack.waiting;
  }

  /** Reads the file once and goes on watching. @throws BerthError `volume_damaged` */
  async start(): Promise<void> {
    await this.history.load();
    await this.#queue(() => this.#read());
    await this.#looks.start();
  }

  /** What has begun comes to its end first. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#patience);
    await this.#looks.stop();
    await this.#working;
    clearTimeout(this.#patience);
    this.#putBack.forget();
  }

  /** Reads the file now. Returns when what it holds is the state; at once after the stop. */
  look(): Promise<void> {
    return this.#queue(() => this.#unlessStopped(() => this.#read()));
  }

  /**
   * Gives the CLI another login; what it had is kept, in case that the new one is no good.
   * @throws BerthError `volume_unwritable`
   * @throws Overtaken if another has just come: nothing has changed, and it may be tried again
   * @throws Refreshing if another is about to come: the same
   */
  async adopt(credentials: Credentials): Promise<void> {
    // The caller has chosen between the new one and this.
    const judged = this.#seen;
    await this.#queue(async () => {
      if (this.#stopped || this.#seen !== judged) throw new Overtaken();
      if (this.#state.kind === 'valid') await this.#lastGood.keepReplaced(this.#state.credentials);
      await this.#file.replace(credentials, judged);
      this.#options.onEvent?.('adopted');
      await this.#read();
    });
  }

  /** One thing after the other. */
  #queue(work: () => Promise<void>): Promise<void> {
    const done = this.#working.then(work);
    this.#working = done.catch(() => undefined);
    return done;
  }

  #lookSoon(): void {
    this.#soon(() => this.#read());
  }

  async #unlessStopped(work: () => Promise<void>): Promise<void> {
    if (!this.#stopped) await work();
  }

  #soon(work: () => Promise<void>): void {
    this.#queue(() => this.#unlessStopped(work)).catch((error: unknown) => {
      const { log } = this.#options;
      log.error('credentials_unreadable', 'cannot judge the credentials', { error });
    });
  }

  async #read(): Promise<void> {
    const { log } = this.#options;
    let content: Buffer | undefined;
    try {
      content = await this.#file.read();
    } catch (error) {
      this.#seen = undefined;
      this.#unread += 1;
      if (this.#unread === 1) {
        log.error('credentials_unreadable', 'cannot read the credentials', { error });
      }
      if (this.#unread < mostUnread) this.#waitThen(() => this.#read());
      else if (this.#unread === mostUnread) {
        this.#become({ kind: 'torn', reason: 'it cannot be read' }, true);
      }
      return;
    }
    this.#unread = 0;
    const seen = seenOf(content);
    if (seen === this.#seen) return this.#lastGood.writeAgain();
    this.#seen = seen;
    clearTimeout(this.#patience);
    if (this.waiting) this.#succession.suspend();
    this.#putBack.forget();
    const state = this.#judge(content);
    this.#options.onEvent?.(state.kind);
    tell(log, state);
    await this.#take(state);
  }

  #judge(content: Buffer | undefined): CredentialsState {
    if (content === undefined) return { kind: 'missing' };
    const judgement = judgeCredentials(content);
    if (judgement.kind !== 'valid') return judgement;
    const { credentials } = judgement;
    // A short one is made up, and would be hidden wherever it stands as a word.
    for (const token of tokensIn(credentials)) if (token.length >= shortestToken) neverShow(token);
    const older = this.history.is('superseded', loginId(credentials));
    return older ? { kind: 'older', credentials } : judgement;
  }

  async #take(state: CredentialsState): Promise<void> {
    switch (state.kind) {
      case 'valid':
        await this.#succession.follow(state.credentials);
        this.#become(state, false);
        await this.#lastGood.keep(state.credentials);
        break;
      case 'missing':
        // One that was lost is no better for it. A pod that never had one waits for the first.
        this.#become(state, this.#lost);
        if (this.#succession.hasBegun || (await this.#lastGood.all()).length > 0) {
          this.#waitThen(() => this.#giveUp());
        }
        break;
      case 'torn':
        // Somebody may be writing it.
        this.#become(state, false);
        this.#waitThen(() => this.#giveUp());
        break;
      case 'blank':
        await this.#succession.refused();
        await this.#restore(state);
        break;
      case 'older':
        await this.#restore(state);
    }
  }

  /** One at a time: what is read anew in between counts in its place. */
  #waitThen(work: () => Promise<void>): void {
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => this.#soon(work), this.#options.patience ?? 1_000);
  }

  async #giveUp(): Promise<void> {
    const state = this.#state;
    // It may have been written just now.
    await this.#read();
    if (this.#state !== state || this.#seen === undefined) return;
    await this.#restore(state);
  }

  /** The login is lost, unless another can be put back, or has just come from somebody else. */
  async #restore(state: CredentialsState): Promise<void> {
    const told = this.#putBack.waiting !== undefined;
    const outcome = await this.#putBack.try(state.kind, this.#seen);
    if (outcome === 'overtaken') {
      // Judged anew also if it has changed back by then.
      this.#seen = undefined;
      this.#looks.soon();
    } else if (outcome === 'put_back') {
      this.#options.onEvent?.('put_back');
      await this.#read();
    } else if (outcome === 'none' || !told) this.#become(state, true);
  }

  #become(state: CredentialsState, lost: boolean): void {
    this.#state = state;
    this.#lost = lost;
    this.#options.onChange?.(state);
  }
}
