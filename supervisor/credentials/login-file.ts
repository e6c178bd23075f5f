/**
 * The CLI's login file, as it is read and replaced. Always holds: it is replaced whole, only as it was
 * judged and while nobody refreshes it, and what the CLI keeps beside the login stays.
 */
import { dirname, join } from 'node:path';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  type Judgement,
  judgeCredentials,
  othersIn,
  withOthers,
} from '../../shared/credentials.ts';
import { BerthError } from '../../shared/errors.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import { withRefreshLock } from '../claude/locks.ts';

/** What the login file is. */
export type CredentialsState =
  | Judgement
  | { kind: 'missing' }
  /** Their refresh token was used up by a later one: using it again would revoke the login. */
  | { kind: 'older'; credentials: Credentials };

/** The file is no more what was judged: it is to be judged anew, before it is replaced. */
export class Overtaken extends Error {}

/** A process is refreshing the login: it is not replaced now. */
export class Refreshing extends Error {
  constructor() {
    super('a process is refreshing the login');
  }
}

/** Milliseconds at most that a refresh is waited for; whoever replaces a login tries again. */
const refreshPatience = 1_000;

/** What the file was found to be, to tell whether it still is; undefined if it could not be read. */
export type Seen = string | undefined;

export function seenOf(content: Buffer | undefined): string {
  return content?.toString('base64') ?? 'missing';
}

export class LoginFile {
  readonly path: string;
  /** Digest of what is about to be put there by berth. */
  #bringing: string | undefined;

  constructor(configDirectory: string) {
    this.path = join(configDirectory, credentialsFileName);
  }

  /** @returns undefined if nothing is there @throws Error if it cannot be read */
  read(): Promise<Buffer | undefined> {
    return readFileBounded(this.path, credentialsLimit);
  }

  /**
   * Writes the login into it, if it still is what was judged.
   * @throws BerthError `volume_unwritable`
   * @throws Error if it could be read when it was judged, and cannot now
   * @throws Overtaken if another has come since: nothing has changed
   * @throws Refreshing if another is about to come: nothing has changed
   */
  async replace(credentials: Credentials, judged: Seen): Promise<void> {
    const late = AbortSignal.timeout(refreshPatience);
    const work = () => this.#replace(credentials, judged);
    await withRefreshLock(dirname(this.path), late, () => {}, work).catch((error: unknown) => {
      throw error === late.reason ? new Refreshing() : error;
    });
  }

  async #replace({ text }: Credentials, judged: Seen): Promise<void> {
    const before = await this.read().catch((error: unknown) => {
      if (judged !== undefined) throw error;
      return undefined;
    });
    if (seenOf(before) !== (judged ?? 'missing')) throw new Overtaken();
    const whole = withOthers(text, before ? othersIn(before) : {});
    const judgement = judgeCredentials(whole);
    this.#bringing = judgement.kind === 'valid' ? judgement.credentials.digest : undefined;
    await writeFileAtomic(this.path, whole, {
      mode: 0o600,
      beforeRename: async () => {
        const now = await this.read().catch(() => undefined);
        if (seenOf(now) === seenOf(before)) return;
        throw new BerthError('volume_unwritable', 'cannot replace the login: it has just changed', {
          cause: new Overtaken(),
        });
      },
    }).catch((error: unknown) => {
      this.#bringing = undefined;
      throw (error as { cause?: unknown }).cause instanceof Overtaken ? new Overtaken() : error;
    });
  }

  /** Whether it was berth that put these there; told once. */
  wasBrought({ digest }: Credentials): boolean {
    const brought = this.#bringing === digest;
    this.#bringing = undefined;
    return brought;
  }
}
