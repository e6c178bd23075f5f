/**
 * The CLI's login file: reads, replaces and describes it.
 * Invariants: the file is replaced as a whole, only if it has not changed since it was judged, and
 * never during a refresh. Other content that the CLI keeps in the file stays. A token is never
 * logged, only the first digits of its hash.
 */
import { lstat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  type Judgement,
  judgeCredentials,
  loginRemedy,
  othersIn,
  withOthers,
} from '../../shared/credentials.ts';
import { BerthError } from '../../shared/errors.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { withRefreshLock } from '../claude/locks.ts';

/** The state of the login file. */
export type CredentialsState =
  | Judgement
  | { kind: 'missing' }
  /** A later login has used up its refresh token: using that again would revoke the login. */
  | { kind: 'older'; credentials: Credentials };

/** The file has changed since it was judged; it must be judged again before it is replaced. */
export class LoginFileChanged extends Error {}

/** A process refreshes the login, so the file cannot be replaced now. */
export class RefreshUnderWay extends Error {
  constructor() {
    super('a process is refreshing the login');
  }
}

/** The content of the file at one time; undefined if it could not be read. */
export type Snapshot = string | undefined;

/** @param content undefined if there is no file, which is another snapshot than that of an empty file */
export function snapshotOf(content: Buffer | undefined): string {
  return content?.toString('base64') ?? 'missing';
}

export class LoginFile {
  readonly path: string;
  readonly #refreshPatience: number;
  /** Digest of what berth itself is about to put into the file. */
  #own: string | undefined;

  /** @param refreshPatience how long to wait for the end of a refresh, in ms; callers try again later */
  constructor(configDirectory: string, refreshPatience = 1_000) {
    this.#refreshPatience = refreshPatience;
    this.path = join(configDirectory, credentialsFileName);
  }

  /** @returns undefined if there is no file @throws Error if it cannot be read */
  read(): Promise<Buffer | undefined> {
    return readFileBounded(this.path, credentialsLimit);
  }

  /**
   * Writes the login into the file, if the file has not changed since it was judged.
   * @throws BerthError `volume_unwritable`
   * @throws Error if the file could be read when it was judged, and cannot be read now
   * @throws LoginFileChanged, RefreshUnderWay: nothing has changed
   */
  async replace(credentials: Credentials, judged: Snapshot): Promise<void> {
    const late = AbortSignal.timeout(this.#refreshPatience);
    const work = () => this.#replace(credentials, judged);
    await withRefreshLock(dirname(this.path), late, () => {}, work).catch((error: unknown) => {
      throw error === late.reason ? new RefreshUnderWay() : error;
    });
  }

  async #replace({ text }: Credentials, judged: Snapshot): Promise<void> {
    const before = await this.read().catch((error: unknown) => {
      if (judged !== undefined) throw error;
      return undefined;
    });
    if (snapshotOf(before) !== (judged ?? 'missing')) throw new LoginFileChanged();
    const whole = withOthers(text, before ? othersIn(before) : {});
    const judgement = judgeCredentials(whole);
    this.#own = judgement.kind === 'valid' ? judgement.credentials.digest : undefined;
    await writeFileAtomic(this.path, whole, {
      mode: 0o600,
      beforeRename: async () => {
        const now = await this.read().catch(() => undefined);
        if (snapshotOf(now) === snapshotOf(before)) return;
        throw new BerthError('volume_unwritable', 'cannot replace the login: it has just changed', {
          cause: new LoginFileChanged(),
        });
      },
    }).catch((error: unknown) => {
      this.#own = undefined;
      const { cause } = error as { cause?: unknown };
      throw cause instanceof LoginFileChanged ? new LoginFileChanged() : error;
    });
  }

  /** Whether berth itself has put this login into the file; true only once for each `replace`. */
  takeOwn({ digest }: Credentials): boolean {
    const isOwn = this.#own === digest;
    this.#own = undefined;
    return isOwn;
  }
}

export function logState(log: Log, state: CredentialsState): void {
  const facts = factsOf(state);
  switch (state.kind) {
    case 'valid':
      log.info('credentials_seen', 'the credentials are valid', facts);
      break;
    case 'missing':
      log.info('credentials_seen', 'there is no credentials file', facts);
      break;
    case 'blank':
      log.error('credentials_seen', 'the CLI has blanked its credentials: log in again', facts);
      break;
    case 'torn':
      log.error('credentials_seen', `the credentials file cannot be used: ${state.reason}`, facts);
      break;
    case 'older': {
      const text = 'the credentials file is an old copy, whose refresh token is used up';
      log.error('credentials_seen', text, facts);
    }
  }
}

function factsOf(state: CredentialsState): Record<string, unknown> {
  if (!('credentials' in state)) return { state: state.kind };
  const { expiresAt, refreshTokenExpiresAt, refreshTokenId } = state.credentials;
  return {
    state: state.kind,
    expires_at: new Date(expiresAt).toISOString(),
    login_expires_at: refreshTokenExpiresAt && new Date(refreshTokenExpiresAt).toISOString(),
    refresh_token_id: refreshTokenId,
  };
}

/**
 * Why the login cannot be used, and the remedy; for an error, a log line or the status.
 * @param waiting why a good login cannot be restored yet; absent if there is none
 */
export function describeLoss(state: CredentialsState, waiting?: string): string {
  const causes: Partial<Record<CredentialsState['kind'], string>> = {
    blank: 'the login server has refused it',
    torn: 'its file is damaged',
    older: 'its file is an old copy, whose refresh token is used up',
  };
  const cause = causes[state.kind] ?? 'there is no credentials file';
  if (waiting !== undefined) {
    return `the CLI's login is missing, because ${cause}, and the last good login cannot be restored yet: ${waiting}; berth retries`;
  }
  return `the CLI's login is lost, because ${cause}; ${loginRemedy}`;
}

/**
 * Warns of mounts that lose logins. Only a mount from another file system can be seen; never rejects.
 * @param source where a person's login is mounted
 */
export async function warnOfMounts(path: string, source: string, log: Log): Promise<void> {
  if (await isMountedFile(path)) {
    const text =
      'the login file itself is mounted: the CLI cannot replace it, so a refreshed login is lost; mount the whole directory, without subPath, and the login as BERTH_CREDENTIALS_SOURCE';
    log.error('credentials_mounted', text, { path });
  }
  if (await isMountedFile(source)) {
    const text =
      'the source of the login is mounted by subPath: a new login in the Secret is not seen before a restart; mount the Secret as a directory';
    log.warn('credentials_mounted', text, { path: source });
  }
}

/** A mounted file is on another device than its directory. */
async function isMountedFile(path: string): Promise<boolean> {
  try {
    const [file, directory] = await Promise.all([lstat(path), lstat(dirname(path))]);
    return file.isFile() && file.dev !== directory.dev;
  } catch {
    return false;
  }
}
