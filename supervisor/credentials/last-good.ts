/**
 * The logins that were good, kept beside the one that is in use: the last one, and the one that a new
 * login replaced. Always holds: for the owner alone (0600); what is read back is judged again, for
 * the CLI can write there; one that is blank or torn is never kept; one that cannot be written counts
 * until the restart.
 */
import { join } from 'node:path';
import { type Credentials, credentialsLimit, judgeCredentials } from '../../shared/credentials.ts';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { lastGoodFile } from '../../shared/state-directory.ts';

export const replacedFile = 'replaced-credentials.json';

export class LastGood {
  readonly #directory: string;
  readonly #log: Log;
  readonly #unwritten = new Map<string, Credentials>();

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

  /** Those that can be used, the better one first. */
  async all(): Promise<Credentials[]> {
    const kept = [await this.#read(lastGoodFile), await this.#read(replacedFile)];
    return kept.filter((credentials) => credentials !== undefined);
  }

  async #write(name: string, credentials: Credentials): Promise<void> {
    try {
      await writeFileAtomic(join(this.#directory, name), credentials.text, { mode: 0o600 });
      this.#unwritten.delete(name);
    } catch (error) {
      this.#unwritten.set(name, credentials);
      this.#log.error('credentials_unkept', 'cannot keep the last good credentials', { error });
    }
  }

  async #read(name: string): Promise<Credentials | undefined> {
    const unwritten = this.#unwritten.get(name);
    if (unwritten) return unwritten;
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
