/**
 * Holds a bad commit back when the server still has it: the volume keeps the last good commit.
 * Invariant: a bad commit is held back only while the last good commit can be written whole; otherwise the bad commit is
 * tried again, because a damaged volume is of no use.
 */
import type { Log } from '../../shared/log.ts';
import type { InitConfig } from '../config.ts';
import type { Avoid } from '../source/source.ts';
import { canFinish } from '../source/without-server.ts';
import type { SyncMetrics } from './metrics.ts';
import { previousCommit, previousFound, rolledBack } from './previous-commit.ts';
import type { ReceivedCommits } from './received-commits.ts';

export interface HoldBackOptions {
  config: InitConfig;
  /** Knows the bad commit. */
  commits: ReceivedCommits;
  log: Log;
  metrics: SyncMetrics;
}

/** Returns what to write instead of a commit; undefined for each commit that is not held back. */
export function holdBack({ config, commits, log, metrics }: HoldBackOptions): Avoid {
  return async (commit, { directory, volume, signal }) => {
    const { bad } = commits;
    if (commit !== bad?.commit) return undefined;
    const { last_good_commit: good, reason } = bad;
    try {
      const record = await previousCommit(config);
      if (record?.commit !== good) throw new Error(`the record of ${good} is lost`);
      const found = previousFound(config, record, directory, rolledBack(commit, good, reason));
      await canFinish(found, { config, volume, signal });
      metrics.rolledBack({ bad: commit, good });
      const text = `no worker started with commit ${commit.slice(0, 7)}: the volume keeps ${good.slice(0, 7)}`;
      log.error('commit_rolled_back', text, { commit, last_good_commit: good, why: reason });
      return found;
    } catch (error) {
      signal.throwIfAborted();
      const text = `commit ${good.slice(0, 7)} is not whole on the volume any longer: ${commit.slice(0, 7)} is tried again`;
      log.error('commit_bad', text, { commit, why: reason, error });
      await commits.forget(config);
      metrics.rolledBack(undefined);
      return undefined;
    }
  };
}
