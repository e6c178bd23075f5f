/**
 * The CLI's login file, as it is read and replaced. Always holds: it is replaced whole, only as it was
 * seen, and what the CLI keeps beside the login stays.
 */
import { join } from 'node:path';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  judgeCredentials,
  othersIn,
  withOthers,
} from '../../shared/credentials.ts';
import { BerthError } from '../../shared/errors.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';

/** The file changed while it was about to be replaced: it is to be judged anew. */
export class Overtaken extends Error {}

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
   * Writes the login into it, if it is still as it was seen.
   * @throws BerthError `volume_unwritable`
   * @throws Overtaken if another has just come: nothing has changed
   */
  async replace({ text }: Credentials): Promise<void> {
    const before = await this.read().catch(() => undefined);
    const whole = withOthers(text, before ? othersIn(before) : {});
    const judgement = judgeCredentials(whole);
    this.#bringing = judgement.kind === 'valid' ? judgement.credentials.digest : undefined;
    await writeFileAtomic(this.path, whole, {
      mode: 0o600,
      beforeRename: async () => {
        const now = await this.read().catch(() => undefined);
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

  /** Whether it was berth that put these there; told once. */
  wasBrought({ digest }: Credentials): boolean {
    const brought = this.#bringing === digest;
    this.#bringing = undefined;
    return brought;
  }
}
