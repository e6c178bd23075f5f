/**
 * The last commit with which workers started, as a source to reconcile with: its record and its
 * replaced files are on the volume (reconcile/live.ts), other objects are in the git directory.
 * Invariants: everything on the volume is untrusted. The record must be proved by its commit id, and
 * a file must have the blob id that is its name.
 */
import { join } from 'node:path';
import { BerthError } from '../../shared/errors.ts';
import { readFileBounded } from '../../shared/files.ts';
import { silent } from '../../shared/log.ts';
import type { InitConfig } from '../config.ts';
import { GitDirectory } from '../git/git-directory.ts';
import { LargeFiles } from '../git/large-object.ts';
import { objectId } from '../git/pack-format.ts';
import { proves } from '../git/tree.ts';
import { previousDirectory, previousRecord } from '../reconcile/live.ts';
import type { Source } from '../source/source.ts';
import { treeOf, Upstream } from '../source/upstream.ts';
import type { Found } from '../source/without-server.ts';
import { readTreeRecord, type TreeRecord } from '../volume/record.ts';
import type { Volume } from '../volume/volume.ts';

/** The record of the commit to go back to; undefined if there is none of this repository. */
export async function previousCommit(config: InitConfig): Promise<TreeRecord | undefined> {
  const directory = join(config.stateDirectory, previousDirectory);
  const read = await readTreeRecord(directory, previousRecord);
  if (read.kind !== 'valid') return undefined;
  const { value } = read;
  const text = Buffer.from(value.commit_text, 'base64');
  const isOurs = value.repository === config.repository.url;
  return isOurs && proves(value.commit, text, treeOf(value)) ? value : undefined;
}

/**
 * @param why the reason for going back, for the report
 * @throws BerthError from `readBlob` if a file is neither kept nor in the git directory
 */
export function previousSource(
  config: InitConfig,
  record: TreeRecord,
  volume: Volume,
  why: BerthError,
): Source {
  const { stateDirectory, maxRepositoryBytes } = config;
  const largeFiles = new LargeFiles();
  const directory = new GitDirectory(join(stateDirectory, 'git'), maxRepositoryBytes, largeFiles);
  return {
    ...previousFound(config, record, directory, why),
    volume,
    largeFiles,
    bytes: () => 0,
    finish: async () => undefined,
    instead: async (error) => {
      throw error;
    },
    close: () => directory.close(),
  };
}

/**
 * @param directory for objects whose files are not kept
 * @param why the reason for going back, for the report
 */
export function previousFound(
  config: InitConfig,
  record: TreeRecord,
  directory: GitDirectory,
  why: BerthError,
): Found {
  const { stateDirectory, ref, maxRepositoryBytes } = config;
  const setAside = async () => undefined;
  const upstream = new Upstream({ directory, remote: undefined, setAside, log: silent });
  const readBlob = async (oid: string): Promise<Buffer> => {
    const path = join(stateDirectory, previousDirectory, oid);
    const kept = await readFileBounded(path, maxRepositoryBytes).catch(() => undefined);
    if (kept && objectId('blob', kept) === oid) return kept;
    return upstream.blob(oid, record.commit);
  };
  const text = Buffer.from(record.commit_text, 'base64');
  return {
    commit: { id: record.commit, text, tree: treeOf(record) },
    confirmedAt: new Date(record.fetched_at),
    ref,
    failure: why,
    readBlob,
  };
}

/** The error that a status shows while the volume has the commit before. */
export function rolledBack(bad: string, good: string, reason: string): BerthError {
  return new BerthError(
    'configuration_invalid',
    `cannot use commit ${bad.slice(0, 7)} of the .claude repository: no worker starts with it (${reason}); the volume has commit ${good.slice(0, 7)} again; push a commit that corrects it`,
    { details: { commit: bad, last_good_commit: good } },
  );
}
