/**
 * A login that a person has made for the volume itself: put in the place of the one that is there, also
 * while a supervisor and its workers use that one.
 * Always holds: the file changes in one step, as the last but one; what it replaces is kept before; a note
 * says first that the new one is no refresh of the old one; the source counts as older from then on.
 */
import { join } from 'node:path';
import { z } from 'zod';
import {
  type Credentials,
  credentialsFileName,
  credentialsLimit,
  judgeCredentials,
  loginId,
  othersIn,
  withOthers,
} from '../../shared/credentials.ts';
import { writeAppliedSource } from '../../shared/credentials-memory.ts';
import { BerthError, systemCode } from '../../shared/errors.ts';
import { readFileBounded, readProvided, writeFileAtomic } from '../../shared/files.ts';
import type { Owner } from '../../shared/owner.ts';
import { readVersioned } from '../../shared/versioned-file.ts';
import { withRefreshLock } from '../claude/locks.ts';
import { replacedFile } from './last-good.ts';

export const newLoginFile = 'new-login.json';

const schema = z.object({
  version: z.literal(1),
  /** Names the login that a person has made last. */
  login: z.string().regex(/^[0-9a-f]{12}$/),
});

export interface Place {
  configDirectory: string;
  stateDirectory: string;
  /** Where a person's login is mounted; it may be missing. */
  source: string;
}

/** Whether a person has made this login, so that it is no refresh of the one before. */
export async function isNewLogin(
  stateDirectory: string,
  credentials: Credentials,
): Promise<boolean> {
  const read = await readVersioned(join(stateDirectory, newLoginFile), schema, 1024).catch(
    () => undefined,
  );
  return read?.kind === 'valid' && read.value.login === loginId(credentials);
}

export interface Bringing {
  /** Whose the files shall be, if not this process's. */
  owner: Owner | undefined;
  /** Ends the waiting for a refresh that is under way, with its reason. */
  signal: AbortSignal;
  onWait: () => void;
}

/** @throws BerthError `volume_unwritable`: nothing has changed then */
export async function bringNewLogin(
  { configDirectory, stateDirectory, source }: Place,
  credentials: Credentials,
  { owner, signal, onWait }: Bringing,
): Promise<void> {
  const options = { mode: 0o600, ...(owner ? { owner } : {}) };
  const path = join(configDirectory, credentialsFileName);
  const given = judge(await readProvided(source, credentialsLimit).catch(() => undefined));
  await withRefreshLock(configDirectory, signal, onWait, async () => {
    const before = await readFileBounded(path, credentialsLimit).catch(notThere);
    const replaced = judge(before);
    if (replaced) {
      await writeFileAtomic(join(stateDirectory, replacedFile), replaced.text, options);
    }
    const note = JSON.stringify({ version: 1, login: loginId(credentials) });
    await writeFileAtomic(join(stateDirectory, newLoginFile), note, options);
    const text = withOthers(credentials.text, before ? othersIn(before) : {});
    await writeFileAtomic(path, text, options);
  });
  if (given) await writeAppliedSource(stateDirectory, given.digest, options);
}

function judge(content: Buffer | undefined): Credentials | undefined {
  const judgement = content && judgeCredentials(content);
  return judgement?.kind === 'valid' ? judgement.credentials : undefined;
}

/** What cannot be read has nothing to keep; a directory cannot be replaced. */
function notThere(error: unknown): undefined {
  if (systemCode(error) !== 'EISDIR' && !/not a regular file/.test(String(error))) return undefined;
  throw new BerthError(
    'volume_unwritable',
    `cannot replace the login: ${String(error)}; move it away`,
    { cause: error },
  );
}
