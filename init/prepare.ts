/**
 * The steps of berth-init: take the lease, inspect and repair the volume, fetch the commit, reconcile,
 * apply the credentials, provide the CLI, take ownership, write the report.
 * Invariants: nothing of the volume changes without the lease. If the git server fails, a complete
 * state of the same repository and ref is used instead, and the report says so.
 */
import { join } from 'node:path';
import { BerthError } from '../shared/errors.ts';
import { installedDirectory } from '../shared/installed-cli.ts';
import { acquireLease, type Lease, leaseFileName, type Sharing } from '../shared/lease.ts';
import type { Log } from '../shared/log.ts';
import { boundQuarantine, openAside } from '../shared/set-aside.ts';
import type { InitConfig } from './config.ts';
import { applyCredentials, type CredentialsOutcome } from './login/credentials.ts';
import { answerOnboarding } from './login/onboarding.ts';
import { proposedOnVolume } from './proposals/state.ts';
import { reconcile } from './reconcile/worktree.ts';
import { describeRun, type InitReport, Steps, summarize, writeReport } from './report.ts';
import { type Avoid, type Source, wantedCommit } from './source/source.ts';
import { findMisplaced } from './volume/misplaced.ts';
import { handOver, isRoot, takeOwnership } from './volume/ownership.ts';
import { isDirectory, openState } from './volume/state-directory.ts';
import { reportUntracked } from './volume/untracked.ts';
import { inspectVolume, repairVolume, type Volume } from './volume/volume.ts';
import { assertUsable } from './volume/volume-access.ts';
import { volumeStates } from './volume/volume-states.ts';

/** How many entries the quarantine keeps: all of them can be fetched again. */
const quarantineSize = 3;

/**
 * Prepares the volume once, and releases it.
 * @param signal aborts when the program stops or its deadline is over; the reason is thrown
 * @throws BerthError
 */
export async function prepare(
  config: InitConfig,
  log: Log,
  signal: AbortSignal,
): Promise<InitReport> {
  const started = performance.now();
  const steps = new Steps();
  const lease = await acquire({ config, log, signal, steps });
  try {
    const report = await prepareHeld({ config, log, lease, signal, started, steps });
    await lease.release();
    await handOver([config.configDirectory, config.stateDirectory], config.owner, log);
    announce(report, log);
    return report;
  } finally {
    await lease.release();
  }
}

/** In the report of a run beside a supervisor. */
const unchangedCredentials: CredentialsOutcome = { from: 'volume', changed: false };

interface Acquisition {
  config: InitConfig;
  log: Log;
  signal: AbortSignal;
  steps?: Steps;
  sharing?: Sharing;
}

/** Makes berth's state usable and takes the lease on the volume. @throws BerthError */
export async function acquire(options: Acquisition): Promise<Lease> {
  const { config, log, signal, steps = new Steps(), sharing } = options;
  const { configDirectory, stateDirectory, leaseExpiry: expiry } = config;
  await assertUsable(configDirectory);
  await openState(configDirectory, stateDirectory, log);
  const times = { expiry, heartbeat: expiry / 5 };
  const shared = sharing ? { sharing } : {};
  const where = { directory: stateDirectory, program: 'init' };
  return steps.run('lease', () => acquireLease({ ...where, log, signal, ...times, ...shared }));
}

export interface Preparation {
  config: InitConfig;
  log: Log;
  lease: Lease;
  signal: AbortSignal;
  /** When the time of BERTH_TIMEOUT began, by `performance.now()`. */
  started: number;
  steps?: Steps;
  /** Set while the supervisor may work on the volume: only tracked files are written. */
  live?: LivePreparation;
  /** What to write in place of a commit. */
  avoid?: Avoid;
}

export interface LivePreparation {
  /** Called when the commit is known, before the first change; returns when no process reads. */
  begin: (commit: string) => Promise<void>;
  /** Whether workers have started with this commit. */
  isGood: (commit: string) => boolean;
  /** Where the commit comes from instead of the git server. */
  source?: (volume: Volume) => Promise<Source>;
}

/** Prepares the volume with a lease that the caller holds and keeps. @throws BerthError */
export async function prepareHeld(options: Preparation): Promise<InitReport> {
  const { lease, signal, started, steps = new Steps() } = options;
  const over = new AbortController();
  const lose = () => over.abort(lease.lost.reason);
  if (lease.lost.aborted) lose();
  lease.lost.addEventListener('abort', lose, { once: true });
  try {
    const held = AbortSignal.any([signal, over.signal]);
    return await run({ ...options, started, steps, signal: held });
  } catch (error) {
    throw signal.aborted ? stopped(signal, error) : error;
  } finally {
    lease.lost.removeEventListener('abort', lose);
  }
}

/** Logs the report of a run. */
export function announce(report: InitReport, log: Log): void {
  // The field `version` of a log line is the version of the program.
  const { version: report_version, ...rest } = report;
  log.info('report', summarize(report), { report_version, ...rest });
}

interface Run extends Preparation {
  started: number;
  steps: Steps;
}

async function run(run: Run): Promise<InitReport> {
  const { config, log, lease, signal, started, steps, live, avoid } = run;
  const { configDirectory, stateDirectory, repository, ref, directory, localChanges } = config;
  const { invalidSettings } = config;
  const wanted = { configDirectory, stateDirectory, repository: repository.url, ref, directory };
  const conflicts = openAside(join(stateDirectory, 'conflicts'), 'init', (path, saved) => {
    log.warn('local_change', 'a local copy is saved; upstream replaces it', { path, saved });
  });
  const quarantine = openAside(join(stateDirectory, 'quarantine'), 'init');

  const volume = await steps.run('inspect', () => inspectVolume(wanted));
  log.debug(
    'volume_inspected',
    `the state of the volume is ${volume.state}: ${volumeStates[volume.state].means}`,
    {
      state: volume.state,
    },
  );
  const repairs = await steps.run('repair', () =>
    repairVolume(volume, wanted, { quarantine, conflicts, isLive: live !== undefined }),
  );

  let source = await steps.run('fetch', () =>
    live?.source
      ? live.source(volume)
      : wantedCommit({ config, started, volume, quarantine, repairs, avoid, log, signal }),
  );
  const proposed = await proposedOnVolume(stateDirectory, repository.url, directory ?? null);
  const reconcileWith = (source: Source) =>
    steps.run('reconcile', () =>
      reconcile({
        ...wanted,
        localChanges,
        invalidSettings,
        ...source.volume,
        commit: source.commit,
        fetchedAt: source.confirmedAt,
        readBlob: source.readBlob,
        largeFiles: source.largeFiles,
        conflicts,
        proposed,
        lease,
        signal,
        log,
        live: live && { isGood: live.isGood },
      }),
    );
  try {
    await live?.begin(source.commit.id);
    const { counts, tracked, owners, settings } = await reconcileWith(source).catch(
      async (error) => {
        source = await source.instead(error);
        return reconcileWith(source);
      },
    );
    log.debug('reconciled', 'the tracked files are equal to the commit', { ...counts });
    const { proposePaths: listed } = config;
    if (listed && !live) {
      const { setAsideUntracked } = await import('./proposals/set-aside-untracked.ts');
      await setAsideUntracked({ configDirectory, stateDirectory, listed, tracked, log });
    }
    const untracked = reportUntracked(configDirectory, tracked, log);
    const misplaced = findMisplaced(source.commit.tree, directory ?? null);
    if (misplaced) {
      const { directories, message } = misplaced;
      log.warn('repository_unread', message, { directories });
    }
    await source.finish();

    const owner = isRoot() ? config.owner : undefined;
    // The supervisor and the CLI take care of the login, `.claude.json` and the CLI while they run.
    const credentials = live
      ? unchangedCredentials
      : await steps.run('credentials', () =>
          applyCredentials({
            configDirectory,
            stateDirectory,
            source: config.credentialsSource,
            liveSource: config.credentialsLiveSource,
            policy: config.credentialsPolicy,
            owner,
            conflicts,
            lease,
            log,
          }),
        );
    const { workspaceDirectory } = config;
    const cli = { configDirectory, workspaceDirectory, owner, conflicts, lease, log };
    if (!live) await answerOnboarding(cli);
    const provided =
      !live && (config.cli || isDirectory(join(stateDirectory, installedDirectory)))
        ? await steps.run('cli', async () => {
            const { provideCli } = await import('./cli/cli.ts');
            // A tenth of the remaining time is for continuing with an earlier CLI.
            const patience = Math.ceil((config.timeout - (performance.now() - started)) * 0.9);
            const wanted = config.cli;
            return provideCli({ stateDirectory, wanted, lease, signal, patience, log });
          })
        : undefined;
    await boundQuarantine(join(stateDirectory, 'quarantine'), quarantineSize);
    const owned = await steps.run('ownership', () =>
      takeOwnership([configDirectory, stateDirectory], config.owner, {
        signal,
        log,
        except: join(stateDirectory, leaseFileName),
        known: owners,
      }),
    );

    const found = { repository, volume, source, misplaced, untracked, repairs };
    const done = { counts, settings, credentials, provided, owned };
    const report = describeRun({ ...found, ...done, started, steps });
    await writeReport(stateDirectory, report, owner ? { owner } : {});
    return report;
  } finally {
    await source.close();
  }
}

/** Why a run ended early: the failure that the stop revealed, or else the reason of the stop. */
function stopped(signal: AbortSignal, error: unknown): unknown {
  if (error instanceof BerthError && error.code !== 'internal') return error;
  return signal.reason;
}
