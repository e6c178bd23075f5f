/**
 * The volume that a sync keeps equal to the repository: its commit, and its changes while sessions run.
 * Invariants: what is not finished is not announced to the supervisor. No supervisor joins the lease while the volume is
 * being changed.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Lease } from '../../shared/lease.ts';
import type { Log } from '../../shared/log.ts';
import type { InitConfig } from '../config.ts';
import { announce, type LivePreparation, prepareHeld } from '../prepare.ts';
import { type InitReport, writeReport } from '../report.ts';
import { isRoot } from '../volume/ownership.ts';
import { appliedFile, pendingFile, readTreeRecord } from '../volume/record.ts';
import { holdBack } from './hold-back.ts';
import type { SyncMetrics } from './metrics.ts';
import type { Partner } from './partner.ts';
import type { ReceivedCommits } from './received-commits.ts';

export interface SyncedVolumeOptions {
  partner: Partner;
  commits: ReceivedCommits;
  metrics: SyncMetrics;
  log: Log;
}

export class SyncedVolume {
  /** Taken before the first change. */
  lease: Lease | undefined;
  /** Whether the volume is being changed. */
  isBusy = true;
  readonly #options: SyncedVolumeOptions;
  #commit = '';
  /** Of the last change. */
  #report: InitReport | undefined;
  /** The last change failed, perhaps after its files were written. */
  #hasFailed = false;

  constructor(options: SyncedVolumeOptions) {
    this.#options = options;
  }

  /** The commit on the volume; empty before the first change. */
  get commit(): string {
    return this.#commit;
  }

  /** Whether the last change is to be made again. */
  isUnfinished(config: InitConfig): boolean {
    return this.#hasFailed || isInterrupted(config);
  }

  /**
   * @param live how the volume is changed below a running supervisor; undefined: there is none
   * @param started when the time of the change began, by `performance.now()`
   * @throws BerthError
   */
  async change(
    config: InitConfig,
    signal: AbortSignal,
    live: LivePreparation | undefined,
    started: number,
  ): Promise<InitReport> {
    const { partner, commits, log, metrics } = this.#options;
    const lease = this.lease as Lease;
    try {
      const avoid = holdBack({ config, commits, log, metrics });
      const options = { config, log, lease, signal, avoid, started, ...(live ? { live } : {}) };
      this.#hasFailed = true;
      const report = await prepareHeld(options);
      this.#commit = report.commit;
      this.#report = report;
      this.#hasFailed = false;
      announce(report, log);
      return report;
    } catch (error) {
      // The files may be written though a later step failed. The error of that step is the one to report.
      const applied = await readTreeRecord(config.stateDirectory, appliedFile).catch(
        () => undefined,
      );
      if (applied?.kind === 'valid') this.#commit = applied.value.commit;
      throw error;
    } finally {
      // A change that was not finished is not announced: the next try finishes it.
      if (this.#commit !== '' && !isInterrupted(config)) partner.end(this.#commit);
    }
  }

  /**
   * The server has the commit that was prepared without the server: the report shows that from now on.
   * @returns whether the report was changed
   */
  async confirm({ stateDirectory, owner }: InitConfig): Promise<boolean> {
    if (this.#report?.remote !== 'failed' || this.#report.commit !== this.#commit) return false;
    const { remote_error: _, ...report } = this.#report;
    const confirmed_at = new Date().toISOString();
    const confirmed: InitReport = { ...report, remote: 'current', confirmed_at, age_ms: 0 };
    await writeReport(stateDirectory, confirmed, isRoot() ? { owner } : {});
    this.#report = confirmed;
    return true;
  }
}

function isInterrupted({ stateDirectory }: InitConfig): boolean {
  return existsSync(join(stateDirectory, pendingFile));
}
