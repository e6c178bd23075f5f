/**
 * Watches the CLI's login file: judges each write, tells it with its expiry, keeps the last good one,
 * and puts that back where the CLI was left with none.
 * Always holds: a token is never logged; a blank or torn file never replaces the last good one; one
 * login is put back once for each refresh token, and never one that was just refused or used up; the
 * directory is watched, not the file (the CLI renames a new one into place), and looked at all the same.
 */
import { join } from 'node:path';
import chokidar, { type FSWatcher } from 'chokidar';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  type Judgement,
  judgeCredentials,
  loginId,
  othersIn,
  tokensIn,
  withOthers,
} from '../../shared/credentials.ts';
import { BerthError } from '../../shared/errors.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { neverShow } from '../../shared/redact.ts';
import { LoginHistory } from './history.ts';
import { LastGood } from './last-good.ts';
import { isNewLogin } from './new-login.ts';
import { tell } from './tell.ts';

export type CredentialsState =
  | Judgement
  | { kind: 'missing' }
  /** Their refresh token was used up by a later one: using it again would revoke the login. */
  | { kind: 'older'; credentials: Credentials };

/** What is counted. */
export type CredentialsEvent = CredentialsState['kind'] | 'refreshed' | 'put_back' | 'adopted';

export interface CredentialsWatchOptions {
  configDirectory: string;
  /** Where the last good credentials are kept. */
  stateDirectory: string;
  log: Log;
  onChange?: (state: CredentialsState) => void;
  onEvent?: (event: CredentialsEvent) => void;
  /** Told when the CLI has blanked its file: the login server has refused a refresh. */
  onRefused?: () => void;
  /** Milliseconds without a change after which a write counts as finished. */
  stable?: number;
  /**
   * Milliseconds after which a torn or vanished file that nobody writes is given up, and between two tries to
   * read one that cannot be read.
   */
  patience?: number;
  /** Milliseconds between two looks, whatever the watcher tells or misses. */
  look?: number;
  /** Milliseconds at most until the watcher is ready; afterwards the looks do alone. */
  ready?: number;
  /** Watches a directory; chokidar's, if none is given. */
  watcher?: typeof chokidar.watch;
}

/** Characters; real ones have a hundred. */
const shortestToken = 20;
/** The CLI refreshes when less than this is left of an access token, in milliseconds. */
export const refreshMargin = 5 * 60_000;
/** Milliseconds after a refresh in which a refusal is meant for the token before it. */
const raceWindow = 60_000;

/** So often in a row a read may fail, for want of descriptors for example, until the login is lost. */
const mostUnread = 5;

/** The file changed while it was about to be replaced: it is to be judged anew. */
export class Overtaken extends Error {}

export class CredentialsWatch {
  readonly history: LoginHistory;
  readonly #options: CredentialsWatchOptions;
  readonly #path: string;
  readonly #lastGood: LastGood;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looks: NodeJS.Timeout | undefined;
  #patience: NodeJS.Timeout | undefined;
  #working: Promise<unknown> = Promise.resolve();
  #state: CredentialsState = { kind: 'missing' };
  #lost = false;
  #seen: string | undefined;
  /** Reads in a row that have failed. */
  #unread = 0;
  /** The valid one that was there last, and since when by Date.now(). */
  #current: { credentials: Credentials; since: number } | undefined;
  #refreshedAt: number | undefined;
  /** Digest of what is about to be put there by berth. */
  #bringing: string | undefined;

  constructor(options: CredentialsWatchOptions) {
    this.#options = options;
    this.#path = join(options.configDirectory, credentialsFileName);
    this.#lastGood = new LastGood(options.stateDirectory, options.log);
    this.history = new LoginHistory(options.stateDirectory, options.log);
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
    return this.#refreshedAt;
  }

  /** Reads the file once and goes on watching. @throws BerthError `volume_damaged` */
  async start(): Promise<void> {
    await this.history.load();
    await this.#queue(() => this.#read());
    const { promise: ready, resolve } = Promise.withResolvers<void>();
    const { watcher = chokidar.watch, ready: atMost = 5_000, look = 2_000 } = this.#options;
    this.#watcher = watcher(this.#options.configDirectory, {
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
    // A write that is just being told is read when it has paused.
    this.#looks = setInterval(() => this.#timer ?? this.#lookSoon(), look);
    const late = setTimeout(() => {
      const sentence = 'the watcher of the credentials is not ready: the file is looked at instead';
      this.#options.log.warn('credentials_unreadable', sentence, { interval_ms: look });
      resolve();
    }, atMost);
    await ready;
    clearTimeout(late);
  }

  async stop(): Promise<void> {
    clearInterval(this.#looks);
    clearTimeout(this.#timer);
    clearTimeout(this.#patience);
    await this.#watcher?.close();
    await this.#working;
    clearTimeout(this.#patience);
  }

  /** Reads the file now. Returns when what it holds is the state. */
  look(): Promise<void> {
    return this.#queue(() => this.#read());
  }

  /**
   * Gives the CLI another login; what it had is kept, in case that the new one is no good.
   * @throws BerthError `volume_unwritable`
   * @throws Overtaken if another has just come: nothing has changed, and it may be tried again
   */
  async adopt(credentials: Credentials): Promise<void> {
    await this.#queue(async () => {
      if (this.#state.kind === 'valid') await this.#lastGood.keepReplaced(this.#state.credentials);
      await this.#bring(credentials);
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

  /** Writes come in bursts: the file is read once they have paused. */
  #settle(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#lookSoon();
    }, this.#options.stable ?? 100);
  }

  #lookSoon(): void {
    this.look().catch((error: unknown) => {
      const { log } = this.#options;
      log.error('credentials_unreadable', 'cannot judge the credentials', { error });
    });
  }

  async #read(): Promise<void> {
    const { log } = this.#options;
    let content: Buffer | undefined;
    try {
      content = await readFileBounded(this.#path, credentialsLimit);
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
    const seen = content?.toString('base64') ?? 'missing';
    if (seen === this.#seen) return;
    this.#seen = seen;
    clearTimeout(this.#patience);
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
        await this.#follow(state.credentials);
        this.#become(state, false);
        await this.#lastGood.keep(state.credentials);
        break;
      case 'missing':
        // One that was lost is no better for it. A pod that never had one waits for the first.
        this.#become(state, this.#lost);
        if (this.#current || (await this.#lastGood.all()).length > 0) {
          this.#waitThen(() => this.#giveUp());
        }
        break;
      case 'torn':
        // Somebody may be writing it.
        this.#become(state, false);
        this.#waitThen(() => this.#giveUp());
        break;
      case 'blank':
        // One that was blank at the start was refused before.
        if (this.#current) this.#options.onRefused?.();
        await this.#noteRefusal();
        if (!(await this.#putBack(state))) this.#become(state, true);
        break;
      case 'older':
        if (!(await this.#putBack(state))) this.#become(state, true);
    }
  }

  /** Valid ones follow others: what they replace is used up, unless berth itself replaced it. */
  async #follow(credentials: Credentials): Promise<void> {
    const before = this.#current?.credentials;
    const id = loginId(credentials);
    const brought = this.#bringing === credentials.digest;
    this.#bringing = undefined;
    this.#current = { credentials, since: Date.now() };
    const another = before !== undefined && loginId(before) !== id && !brought;
    const anew = another && (await isNewLogin(this.#options.stateDirectory, credentials));
    const refreshed = another && !anew;
    await this.history.noteFirst(id, refreshed ? loginId(before) : undefined);
    if (anew) {
      this.#options.onEvent?.('adopted');
      this.#options.log.info('credentials_applied', 'took the login made by `berth login`', {
        refresh_token_id: credentials.refreshTokenId,
      });
    }
    if (!refreshed) return;
    this.#refreshedAt = Date.now();
    this.#options.onEvent?.('refreshed');
    await this.history.note('superseded', loginId(before));
  }

  /** The CLI blanks its file when the login server refuses its refresh token. Which one was it? */
  async #noteRefusal(): Promise<void> {
    // After a start nobody knows how it came: init's rule, the last good one was refused.
    const credentials = this.#current?.credentials ?? (await this.#lastGood.all())[0];
    if (!credentials) return;
    const since = this.#current?.since ?? 0;
    const due = credentials.expiresAt - refreshMargin <= Date.now();
    // One that is fresh was not asked for again: another process was refused its forerunner.
    if (due || Date.now() - since > raceWindow) {
      await this.history.note('refused', loginId(credentials));
    }
  }

  /** One at a time: what is read anew in between counts in its place. */
  #waitThen(work: () => Promise<void>): void {
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => {
      this.#queue(work).catch((error: unknown) => {
        const { log } = this.#options;
        log.error('credentials_unreadable', 'cannot judge the credentials', { error });
      });
    }, this.#options.patience ?? 1_000);
  }

  async #giveUp(): Promise<void> {
    const state = this.#state;
    // It may have been written just now.
    await this.#read();
    if (this.#state !== state || this.#seen === undefined) return;
    if (!(await this.#putBack(state))) this.#become(state, true);
  }

  /** True if the CLI has a login again, or somebody has just written another one. */
  async #putBack({ kind }: CredentialsState): Promise<boolean> {
    const { log, onEvent } = this.#options;
    const kept = await this.#lastGood.all();
    const fates = ['refused', 'superseded', 'put_back'] as const;
    const good = kept.find((each) => !fates.some((fate) => this.history.is(fate, loginId(each))));
    if (!good) return false;
    // Noted first: killed in between, it is not tried for ever.
    await this.history.note('put_back', loginId(good));
    try {
      await this.#bring(good);
    } catch (error) {
      // It was not tried: it may be the next time.
      await this.history.takeBack('put_back', loginId(good));
      if (error instanceof Overtaken) {
        this.#settle();
        return true;
      }
      log.error('credentials_unkept', 'cannot put the last good credentials back', { error });
      return false;
    }
    onEvent?.('put_back');
    log.warn('credentials_put_back', `put the last good login back: the file was ${kind}`, {
      state: kind,
      refresh_token_id: good.refreshTokenId,
    });
    await this.#read();
    return true;
  }

  /** Writes the login file, if it is still as it was seen. */
  async #bring({ text }: Credentials): Promise<void> {
    const before = await readFileBounded(this.#path, credentialsLimit).catch(() => undefined);
    const whole = withOthers(text, before ? othersIn(before) : {});
    const judgement = judgeCredentials(whole);
    this.#bringing = judgement.kind === 'valid' ? judgement.credentials.digest : undefined;
    await writeFileAtomic(this.#path, whole, {
      mode: 0o600,
      beforeRename: async () => {
        const now = await readFileBounded(this.#path, credentialsLimit).catch(() => undefined);
        if (now?.toString('base64') === before?.toString('base64')) return;
        throw new BerthError('volume_unwritable', 'cannot replace the login: it has just changed', {
          cause: new Overtaken(),
        });
      },
    }).catch((error: unknown) => {
      this.#bringing = undefined;
      throw (error as { cause?: unknown }).cause instanceof Overtaken ? new Overtaken() : error;
    });
  }

  #become(state: CredentialsState, lost: boolean): void {
    this.#state = state;
    this.#lost = lost;
    this.#options.onChange?.(state);
  }
}
