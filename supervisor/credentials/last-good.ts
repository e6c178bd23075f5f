/**
 * The last good logins: stored beside the login in use, and restored if the CLI has no login.
 * Invariants: only the owner can read the copies (0600). A copy is judged again when it is read,
 * because the CLI can write there. A blank or torn login is never stored. A login that cannot be
 * written stays in memory until the volume can be written, or another program has stored a newer
 * one. A login is restored once for each refresh token, and never if its token was refused or used
 * up.
 */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { backoff } from '../../shared/backoff.ts';
import {
  type Credentials,
  credentialsLimit,
  judgeCredentials,
  loginId,
} from '../../shared/credentials.ts';
import { messageOf } from '../../shared/errors.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { lastGoodFile } from '../../shared/state-directory.ts';
import type { LoginHistory } from './history.ts';
import { type LoginFile, LoginFileChanged, type Snapshot } from './login-file.ts';

/** The login that a new one has replaced. */
export const replacedFile = 'replaced-credentials.json';

interface Unwritten {
  credentials: Credentials;
  /** Names the file as the failed write left it. */
  version: string | undefined;
}

export class LastGood {
  readonly #directory: string;
  readonly #log: Log;
  readonly #unwritten = new Map<string, Unwritten>();

  constructor(stateDirectory: string, log: Log) {
    this.#directory = stateDirectory;
    this.#log = log;
  }

  /** Logs if the login cannot be kept; never rejects. */
  keep(credentials: Credentials): Promise<void> {
    return this.#write(lastGoodFile, credentials);
  }

  /**
   * Stores the login that another login replaces, in case the new login is refused. Never rejects.
   */
  keepReplaced(credentials: Credentials): Promise<void> {
    return this.#write(replacedFile, credentials);
  }

  /** Writes again what could not be written. Never rejects. */
  async retry(): Promise<void> {
    for (const [name, unwritten] of this.#unwritten) {
      if (await this.#newer(name, unwritten)) this.#unwritten.delete(name);
      else await this.#write(name, unwritten.credentials);
    }
  }

  /** The usable logins, the better one first. */
  async all(): Promise<Credentials[]> {
    const kept = [await this.#read(lastGoodFile), await this.#read(replacedFile)];
    return kept.filter((credentials) => credentials !== undefined);
  }

  async #write(name: string, credentials: Credentials): Promise<void> {
    const path = join(this.#directory, name);
    try {
      await writeFileAtomic(path, credentials.text, { mode: 0o600 });
      this.#unwritten.delete(name);
    } catch (error) {
      const isLogged = this.#unwritten.get(name)?.credentials === credentials;
      this.#unwritten.set(name, { credentials, version: await versionOf(path) });
      if (isLogged) return;
      this.#log.error('credentials_unkept', 'cannot store the last good credentials', { error });
    }
  }

  async #read(name: string): Promise<Credentials | undefined> {
    const unwritten = this.#unwritten.get(name);
    if (unwritten) return (await this.#newer(name, unwritten)) ?? unwritten.credentials;
    return this.#stored(name);
  }

  /** The login that another program, such as `berth login`, has stored since the failed write. */
  async #newer(name: string, { version }: Unwritten): Promise<Credentials | undefined> {
    const found = await versionOf(join(this.#directory, name));
    return found === undefined || found === version ? undefined : this.#stored(name);
  }

  async #stored(name: string): Promise<Credentials | undefined> {
    try {
      const content = await readFileBounded(join(this.#directory, name), credentialsLimit);
      const judgement = content && judgeCredentials(content);
      return judgement?.kind === 'valid' ? judgement.credentials : undefined;
    } catch (error) {
      this.#log.warn('credentials_unreadable', 'cannot read the last good credentials', { error });
      return undefined;
    }
  }
}

/** Changes with each replacement; undefined if there is no file. */
async function versionOf(path: string): Promise<string | undefined> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined);
  return found?.isFile() ? `${found.ino} ${found.mtimeNs}` : undefined;
}

export interface PutBackOptions {
  file: LoginFile;
  history: LoginHistory;
  lastGood: LastGood;
  log: Log;
  /** Called when it is time for another try. */
  onDue: () => void;
  /** Milliseconds until the second try; later tries wait longer. */
  pause?: number | undefined;
}

/** `none`: no login is left that could be put back. */
export type PutBackOutcome = 'put_back' | 'file_changed' | 'failed' | 'none';

/**
 * A good login that cannot be restored yet: the volume cannot be written, or a refresh is running.
 */
export interface Waiting {
  /** When the first try failed, in ms since 1970. */
  since: number;
  attempts: number;
  /** Of the last try. */
  error: unknown;
}

export class PutBack {
  readonly #options: PutBackOptions;
  #waiting: Waiting | undefined;
  /** When the first try failed, by performance.now(). */
  #began = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PutBackOptions) {
    this.#options = options;
  }

  get waiting(): Waiting | undefined {
    return this.#waiting;
  }

  /**
   * @param kind the judgement of the login file, for the log
   * @param judged the judged content: no other content is replaced
   */
  async try(kind: string, judged: Snapshot): Promise<PutBackOutcome> {
    const { file, history, lastGood } = this.#options;
    clearTimeout(this.#timer);
    const kept = await lastGood.all();
    const fates = ['refused', 'superseded', 'put_back'] as const;
    const good = kept.find((each) => !fates.some((fate) => history.is(fate, loginId(each))));
    if (!good) return this.#end('none');
    // Recorded first: if berth is killed in between, the login is not put back again and again.
    await history.record('put_back', loginId(good));
    try {
      await file.replace(good, judged);
    } catch (error) {
      await history.withdraw('put_back', loginId(good));
      if (error instanceof LoginFileChanged) return this.#end('file_changed');
      this.#wait(error);
      return 'failed';
    }
    this.#log(kind, good);
    return this.#end('put_back');
  }

  /** Ends further retries: the login file has changed. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#waiting = undefined;
  }

  #end(outcome: PutBackOutcome): PutBackOutcome {
    this.cancel();
    return outcome;
  }

  #wait(error: unknown): void {
    const { log, onDue, pause: first = 1_000 } = this.#options;
    if (!this.#waiting) this.#began = performance.now();
    const { since, attempts } = this.#waiting ?? { since: Date.now(), attempts: 0 };
    this.#waiting = { since, attempts: attempts + 1, error };
    const wait = backoff(attempts + 1, { first, longest: 30_000 });
    const text = `cannot restore the last good login: ${messageOf(error)}; berth retries`;
    const facts = { attempts: attempts + 1, retry_ms: wait, error };
    // Later failures have the same cause and are logged at level debug.
    log[attempts === 0 ? 'error' : 'debug']('credentials_unkept', text, facts);
    this.#timer = setTimeout(onDue, wait);
  }

  #log(kind: string, { refreshTokenId }: Credentials): void {
    const waited = this.#waiting && {
      attempts: this.#waiting.attempts + 1,
      waited_ms: Math.round(performance.now() - this.#began),
    };
    const text = `restored the last good login: the file was ${kind}`;
    const facts = { state: kind, refresh_token_id: refreshTokenId, ...waited };
    this.#options.log.warn('credentials_put_back', text, facts);
  }
}
