/**
 * The logins that were good, kept beside the one that is in use: the last one, and the one that a new
 * login replaced. Always holds: for the owner alone (0600); what is read back is judged again, for
 * the CLI can write there; one that is blank or torn is never kept; one that cannot be written counts
 * all the same, until it can be or somebody else has put another there.
 */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Credentials, credentialsLimit, judgeCredentials } from '../../shared/credentials.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { lastGoodFile } from '../../shared/state-directory.ts';

export const replacedFile = 'replaced-credentials.json';

interface Unwritten {
  credentials: Credentials;
  /** Of the file as the failure left it. */
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

  /** Says so if it cannot be kept; never rejects. */
  keep(credentials: Credentials): Promise<void> {
    return this.#write(lastGoodFile, credentials);
  }

  /** Keeps what another login replaces, which may turn out to be no good. Never rejects. */
  keepReplaced(credentials: Credentials): Promise<void> {
    return this.#write(replacedFile, credentials);
  }

  /** Tries anew what could not be written. Never rejects. */
  async writeAgain(): Promise<void> {
    for (const [name, unwritten] of this.#unwritten) {
      if (await this.#newer(name, unwritten)) this.#unwritten.delete(name);
      else await this.#write(name, unwritten.credentials);
    }
  }

  /** Those that can be used, the better one first. */
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
      const again = this.#unwritten.get(name)?.credentials === credentials;
      this.#unwritten.set(name, { credentials, version: await versionOf(path) });
      if (again) return;
      this.#log.error('credentials_unkept', 'cannot keep the last good credentials', { error });
    }
  }

  async #read(name: string): Promise<Credentials | undefined> {
    const unwritten = this.#unwritten.get(name);
    if (unwritten) return (await this.#newer(name, unwritten)) ?? unwritten.credentials;
    return this.#stored(name);
  }

  /** What somebody else, such as `berth login`, has put there since. */
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

/** Another one after each replacement; undefined if no file is there. */
async function versionOf(path: string): Promise<string | undefined> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined);
  return found?.isFile() ? `${found.ino} ${found.mtimeNs}` : undefined;
}
