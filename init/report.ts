/**
 * The report of a run, for people and for the supervisor: one log line and `.berth/report.json`.
 */
import { join } from 'node:path';
import { z } from 'zod';
import type { BerthError, ErrorCode } from '../shared/errors.ts';
import { type WriteOptions, writeFileAtomic } from '../shared/files.ts';
import type { CliOutcome } from './cli/cli.ts';
import type { Repository } from './git/repository.ts';
import type { Commit } from './git/tree.ts';
import type { CredentialsOutcome } from './login/credentials.ts';
import type { SettingsOutcome } from './reconcile/keep-settings.ts';
import type { ReconcileCounts } from './reconcile/plan.ts';
import type { Misplaced } from './volume/misplaced.ts';
import { readVersioned, reportFile } from './volume/record.ts';
import type { Volume } from './volume/volume.ts';
import type { VolumeState } from './volume/volume-states.ts';

export interface InitReport extends ReconcileCounts {
  version: 1;
  repository: string;
  /** BERTH_REF, or the name of the default branch if it is known. */
  ref: string | null;
  commit: string;
  /** The commit that was on the volume before; null if it is the same. */
  previous_commit: string | null;
  /** The state in which the run found the volume. */
  volume: VolumeState;
  /** The repairs, each in a few words. */
  repairs: string[];
  /** `current`: the server confirmed the commit; `failed`: the run continued without the server. */
  remote: 'current' | 'failed';
  /** Why the server could not be used. */
  remote_error?: { code: ErrorCode; message: string };
  /** Why nothing of the commit takes effect: the CLI reads none of it (misplaced.ts). */
  problem?: string;
  /** When the server last confirmed the commit, ISO 8601, and the time since then. */
  confirmed_at: string;
  age_ms: number;
  /** Untracked executable configuration on the volume. */
  untracked_executable: number;
  /**
   * Set if the CLI would ignore the settings.json of the commit. `kept`: the last good one stays on the
   * volume; `invalid`: there is no good one.
   */
  settings?: SettingsOutcome;
  credentials: CredentialsOutcome;
  /** The source of the CLI on the volume; absent if no CLI is configured. */
  cli?: CliOutcome['from'];
  /** Files given to the user of the CLI. */
  owned: number;
  /** Bytes received from the git server. */
  bytes: number;
  finished_at: string;
  duration_ms: number;
  /** Milliseconds by step. */
  steps: Record<string, number>;
}

const earlier = z.object({
  version: z.literal(1),
  repository: z.string(),
  commit: z.string(),
  confirmed_at: z.iso.datetime(),
});

/** When the server last confirmed `commit`, by the report of an earlier run. */
export async function lastConfirmed(
  stateDirectory: string,
  { repository, commit }: { repository: string; commit: string },
): Promise<Date | undefined> {
  const read = await readVersioned(join(stateDirectory, reportFile), earlier, 256 * 1024);
  if (read.kind !== 'valid') return undefined;
  const { value } = read;
  const same = value.repository === repository && value.commit === commit;
  return same ? new Date(value.confirmed_at) : undefined;
}

/** Writes the report without fsync: the volume is complete without it, and the next run writes it again. */
export function writeReport(
  stateDirectory: string,
  report: InitReport,
  options: WriteOptions,
): Promise<void> {
  const text = `${JSON.stringify(report, undefined, 2)}\n`;
  return writeFileAtomic(join(stateDirectory, reportFile), text, { durable: false, ...options });
}

/** The findings and actions of a run. */
interface Run {
  repository: Repository;
  volume: Volume;
  source: {
    commit: Commit;
    ref: string | undefined;
    confirmedAt: Date;
    failure: BerthError | undefined;
    bytes(): number;
  };
  misplaced: Misplaced | undefined;
  /** Untracked executable configuration. */
  untracked: number;
  repairs: string[];
  counts: ReconcileCounts;
  settings: SettingsOutcome | undefined;
  credentials: CredentialsOutcome;
  provided: CliOutcome | undefined;
  /** Files given to the user of the CLI. */
  owned: number;
  /** When the run started, by `performance.now()`. */
  started: number;
  steps: Steps;
}

export function describeRun(run: Run): InitReport {
  const { volume, counts, misplaced, settings } = run;
  const { commit, ref, confirmedAt, failure, bytes } = run.source;
  const previous = volume.applied?.commit;
  const damaged = volume.state === 'complete' && counts.restored + counts.drift > 0;
  return {
    version: 1,
    repository: run.repository.url,
    ref: ref ?? null,
    commit: commit.id,
    previous_commit: previous === undefined || previous === commit.id ? null : previous,
    volume: damaged ? 'damaged_tree' : volume.state,
    repairs: run.repairs,
    remote: failure ? 'failed' : 'current',
    ...(failure ? { remote_error: { code: failure.code, message: failure.message } } : {}),
    ...(misplaced ? { problem: misplaced.message } : {}),
    confirmed_at: confirmedAt.toISOString(),
    age_ms: failure ? ageOf(confirmedAt) : 0,
    ...counts,
    untracked_executable: run.untracked,
    ...(settings ? { settings } : {}),
    credentials: run.credentials,
    ...(run.provided ? { cli: run.provided.from } : {}),
    owned: run.owned,
    bytes: bytes(),
    finished_at: new Date().toISOString(),
    duration_ms: Math.round(performance.now() - run.started),
    steps: run.steps.times,
  };
}

/** Milliseconds since the server confirmed the commit; 0 if the clock was set back since. */
export function ageOf(confirmedAt: Date): number {
  return Math.max(0, Date.now() - confirmedAt.getTime());
}

/** One log line for people. */
export function summarize(report: InitReport): string {
  const { repository, ref, commit, written, removed, kept, conflicts, drift } = report;
  const at = `${repository}${ref ? ` (${ref})` : ''} at ${commit.slice(0, 7)}`;
  const counts = Object.entries({ written, removed, kept, conflicts, drift })
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${count} ${name}`);
  const done = counts.length > 0 ? counts.join(', ') : 'nothing to do';
  const but = [
    ...(report.remote === 'failed' ? ['; WITHOUT the git server'] : []),
    ...(report.settings === 'kept' ? ['; with an EARLIER settings.json'] : []),
    ...(report.settings === 'invalid' ? ['; with an INVALID settings.json'] : []),
  ];
  return `the volume is ready: ${at}, ${done}${but.join('')}`;
}

/** How long each step of a run takes, for its report. */
export class Steps {
  /** Milliseconds by the name of the step, in the sequence in which the steps ended. */
  readonly times: Record<string, number> = {};

  async run<T>(name: string, action: () => Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await action();
    } finally {
      this.times[name] = Math.round((performance.now() - started) * 10) / 10;
    }
  }
}
