/**
 * The steps of berth-init in their order: lease, volume, git server, reconcile, credentials,
 * ownership, report. Always holds: nothing of the volume changes without the lease; where the git
 * server fails, a complete state of the same repository and ref is used instead, and said so.
 */
import { join } from 'node:path';
import { BerthError } from '../shared/errors.ts';
import { installedDirectory } from '../shared/installed-cli.ts';
import { acquireLease, type Lease, leaseFileName } from '../shared/lease.ts';
import type { Log } from '../shared/log.ts';
import { boundQuarantine, openAside } from '../shared/set-aside.ts';
import type { CliOutcome } from './cli/cli.ts';
import type { InitConfig } from './config.ts';
import { applyCredentials, type CredentialsOutcome } from './login/credentials.ts';
import { answerOnboarding } from './login/onboarding.ts';
import type { SettingsOutcome } from './reconcile/keep-settings.ts';
import type { ReconcileCounts } from './reconcile/plan.ts';
import { reconcile } from './reconcile/worktree.ts';
import { type InitReport, Steps, writeReport } from './report.ts';
import { type Source, wantedCommit } from './source/source.ts';
import { ageOf } from './source/without-server.ts';
import { findMisplaced, type Misplaced } from './volume/misplaced.ts';
import { handOver, isRoot, takeOwnership } from './volume/ownership.ts';
import { isDirectory, openState } from './volume/state-directory.ts';
import { reportUntracked } from './volume/untracked.ts';
import { inspectVolume, repairVolume, type Volume } from './volume/volume.ts';
import { assertUsable } from './volume/volume-access.ts';
import { volumeStates } from './volume/volume-states.ts';

/** How many things that were set aside and can be fetched again are kept. */
const quarantineSize = 3;

/**
 * @param signal the wish to stop; its reason is thrown
 * @throws BerthError
 */
export async function prepare(
  config: InitConfig,
  log: Log,
  signal: AbortSignal,
): Promise<InitReport> {
  const started = performance.now();
  const { configDirectory, stateDirectory } = config;
  await assertUsable(configDirectory);
  await openState(configDirectory, stateDirectory, log);
  const { leaseExpiry: expiry } = config;
  const times = { expiry, heartbeat: expiry / 5 };
  const program = 'init';
  const steps = new Steps();
  const over = new AbortController();
  const held = AbortSignal.any([signal, over.signal]);
  const lease = await steps.run('lease', () =>
    acquireLease({ directory: stateDirectory, program, log, signal, ...times }),
  );
  lease.lost.addEventListener('abort', () => over.abort(lease.lost.reason), { once: true });
  try {
    const report = await run({ config, log, lease, signal: held, started, steps });
    await lease.release();
    await handOver([configDirectory, stateDirectory], config.owner, log);
    // A line's `version` is that of the program.
    const { version: report_version, ...rest } = report;
    log.info('report', summary(report), { report_version, ...rest });
    return report;
  } catch (error) {
    throw signal.aborted ? stopped(signal, error) : error;
  } finally {
    await lease.release();
  }
}

interface Run {
  config: InitConfig;
  log: Log;
  lease: Lease;
  signal: AbortSignal;
  started: number;
  steps: Steps;
}

async function run({ config, log, lease, signal, started, steps }: Run): Promise<InitReport> {
  const { configDirectory, stateDirectory, repository, ref, directory, localChanges } = config;
  const { invalidSettings } = config;
  const wanted = { configDirectory, stateDirectory, repository: repository.url, ref, directory };
  const conflicts = openAside(join(stateDirectory, 'conflicts'), 'init', (path, saved) => {
    log.warn('local_change', 'a local copy is saved; upstream takes its place', { path, saved });
  });
  const quarantine = openAside(join(stateDirectory, 'quarantine'), 'init');

  const volume = await steps.run('inspect', () => inspectVolume(wanted));
  log.debug('volume_inspected', `the volume: ${volumeStates[volume.state].means}`, {
    state: volume.state,
  });
  const repairs = await steps.run('repair', () =>
    repairVolume(volume, wanted, { quarantine, conflicts }),
  );

  let source = await steps.run('fetch', () =>
    wantedCommit({ config, volume, quarantine, repairs, log, signal }),
  );
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
        lease,
        signal,
        log,
      }),
    );
  try {
    const { counts, tracked, owners, settings } = await reconcileWith(source).catch(
      async (error) => {
        source = await source.instead(error);
        return reconcileWith(source);
      },
    );
    log.debug('reconciled', 'the tracked files are what the commit has', { ...counts });
    const untracked = reportUntracked(configDirectory, tracked, log);
    const misplaced = findMisplaced(source.commit.tree, directory ?? null);
    if (misplaced) {
      const { directories, message } = misplaced;
      log.warn('repository_unread', message, { directories });
    }
    await source.finish();

    const owner = isRoot() ? config.owner : undefined;
    const credentials = await steps.run('credentials', () =>
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
    await answerOnboarding(cli);
    const provided =
      config.cli || isDirectory(join(stateDirectory, installedDirectory))
        ? await steps.run('cli', async () => {
            const { provideCli } = await import('./cli/cli.ts');
            // What is left, with time to go on without it.
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

    const reported = { counts, misplaced, untracked, settings, credentials };
    const facts = { ...reported, provided, owned, repairs, steps: steps.times };
    const report = describe(config, volume, source, facts, started);
    await writeReport(stateDirectory, report, owner ? { owner } : {});
    return report;
  } finally {
    await source.close();
  }
}

interface Facts {
  counts: ReconcileCounts;
  misplaced: Misplaced | undefined;
  untracked: number;
  settings: SettingsOutcome | undefined;
  credentials: CredentialsOutcome;
  provided: CliOutcome | undefined;
  owned: number;
  repairs: string[];
  steps: Record<string, number>;
}

function describe(
  { repository }: InitConfig,
  { state, applied }: Volume,
  { commit, ref, confirmedAt, failure, bytes }: Source,
  facts: Facts,
  started: number,
): InitReport {
  const { counts, misplaced, untracked, settings, credentials, provided, owned, repairs } = facts;
  const previous = applied?.commit;
  return {
    version: 1,
    repository: repository.url,
    ref: ref ?? null,
    commit: commit.id,
    previous_commit: previous === undefined || previous === commit.id ? null : previous,
    volume: state === 'complete' && counts.restored + counts.drift > 0 ? 'damaged_tree' : state,
    repairs,
    remote: failure ? 'failed' : 'current',
    ...(failure ? { remote_error: { code: failure.code, message: failure.message } } : {}),
    ...(misplaced ? { problem: misplaced.message } : {}),
    confirmed_at: confirmedAt.toISOString(),
    age_ms: failure ? ageOf({ confirmedAt }) : 0,
    ...counts,
    untracked_executable: untracked,
    ...(settings ? { settings } : {}),
    credentials,
    ...(provided ? { cli: provided.from } : {}),
    owned,
    bytes: bytes(),
    finished_at: new Date().toISOString(),
    duration_ms: Math.round(performance.now() - started),
    steps: facts.steps,
  };
}

/** One line for a person. */
function summary(report: InitReport): string {
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

/** Why a run ended early: what the one who stopped it said, or the failure this brought to light. */
function stopped(signal: AbortSignal, error: unknown): unknown {
  if (error instanceof BerthError && error.code !== 'internal') return error;
  return signal.reason;
}
