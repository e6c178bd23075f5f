/**
 * Writes the login of a person to the CLI's file on the volume, also while a supervisor and its
 * workers use the current login.
 * Invariants: the replaced login is stored first. A note then records that the new login is not a
 * refresh of the replaced login. The file changes in one step after that. Last, the source is
 * recorded as older.
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
import { writeAppliedSource, writeNewLogin } from '../../shared/credentials-memory.ts';
import { BerthError, systemCode } from '../../shared/errors.ts';
import { readFileBounded, readProvided, writeFileAtomic } from '../../shared/files.ts';
import type { Owner } from '../../shared/owner.ts';
import { withRefreshLock } from '../claude/locks.ts';
import { replacedFile } from '../credentials/last-good.ts';

export interface LoginPlaces {
  configDirectory: string;
  stateDirectory: string;
  /** Where a person's login is mounted; it may be missing. */
  source: string;
}

export interface InstallOptions {
  /** The owner of the files, if not the user of this process. */
  owner: Owner | undefined;
  /** Ends the wait for a running refresh, with its reason. */
  signal: AbortSignal;
  /** Called if there is such a wait. */
  onWait: () => void;
}

/** @throws BerthError `volume_unwritable`: nothing has changed then */
export async function installLogin(
  { configDirectory, stateDirectory, source }: LoginPlaces,
  credentials: Credentials,
  { owner, signal, onWait }: InstallOptions,
): Promise<void> {
  const options = { mode: 0o600, ...(owner ? { owner } : {}) };
  const path = join(configDirectory, credentialsFileName);
  const given = judge(await readProvided(source, credentialsLimit).catch(() => undefined));
  await withRefreshLock(configDirectory, signal, onWait, async () => {
    const before = await readFileBounded(path, credentialsLimit).catch(ignoreUnreadable);
    const replaced = judge(before);
    if (replaced) {
      await writeFileAtomic(join(stateDirectory, replacedFile), replaced.text, options);
    }
    await writeNewLogin(stateDirectory, credentials, options);
    const text = withOthers(credentials.text, before ? othersIn(before) : {});
    await writeFileAtomic(path, text, options);
  });
  if (given) await writeAppliedSource(stateDirectory, given, options);
}

function judge(content: Buffer | undefined): Credentials | undefined {
  const judgement = content && judgeCredentials(content);
  return judgement?.kind === 'valid' ? judgement.credentials : undefined;
}

/** A file that cannot be read has nothing to keep; a directory cannot be replaced. */
function ignoreUnreadable(error: unknown): undefined {
  if (systemCode(error) !== 'EISDIR' && !/not a regular file/.test(String(error))) return undefined;
  throw new BerthError(
    'volume_unwritable',
    `cannot replace the login: ${String(error)}; move it away`,
    { cause: error },
  );
}
