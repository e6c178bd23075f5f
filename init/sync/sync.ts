/**
 * Keeps the volume equal to the repository while sessions run: requests the refs at each interval
 * and after a push, writes a changed commit, and goes back to the last good commit if no worker
 * starts with the new one. The bad commit is recorded first, so a restart does not write it again.
 * Invariants: one change of the volume at a time. A supervisor joins the lease only between changes.
 * A failure changes nothing, or is finished by the next try; tries after failures are further and
 * further apart.
 */
import { waitForRound } from '../../shared/backoff.ts';
import { asBerthError } from '../../shared/errors.ts';
import type { Peer } from '../../shared/lease.ts';
import type { Log } from '../../shared/log.ts';
import { pause } from '../../shared/waiting.ts';
import { Wake } from '../../shared/wake.ts';
import type { InitConfig } from '../config.ts';
import { acquire, type LivePreparation } from '../prepare.ts';
import type { InitReport } from '../report.ts';
import { currentTarget } from '../source/current-target.ts';
import { TokenQuery } from '../source/token-query.ts';
import { handOver } from '../volume/ownership.ts';
import type { PassKind, SyncMetrics } from './metrics.ts';
import { Partner, type Verdict } from './partner.ts';
import { previousCommit, previousSource, rolledBack } from './previous-commit.ts';
import { ReceivedCommits } from './received-commits.ts';
import { SyncedVolume } from './synced-volume.ts';

export interface SyncOptions {
  /** Reads the settings again. @throws BerthError `config_invalid` */
  readConfig: () => InitConfig;
  metrics: SyncMetrics;
  log: Log;
}

/** Milliseconds between two requests for the refs, whatever the number of pushes. */
const shortest = 500;
/** Milliseconds for one request for the refs. */
const patience = 30_000;
/** Milliseconds between tries after failures. */
const afterFailure = { first: 5_000, longest: 300_000, jitter: 0.5 };
/** Milliseconds between two repairs that the supervisor asks for. */
const betweenRepairs = 10_000;

export class Sync {
  readonly #options: SyncOptions;
  readonly #partner: Partner;
  readonly #commits: ReceivedCommits;
  readonly #volume: SyncedVolume;
  readonly #tokenQuery = new TokenQuery();
  /** The supervisor's last judgement, whatever its commit: it may come before that of the volume is known. */
  #verdict: Verdict | undefined;
  #repair = false;
  #repairedAt = Number.NEGATIVE_INFINITY;
  readonly #wake = new Wake();
  /** The syncs that have failed in a row, a preparation without the git server included. */
  #failures = 0;
  /** BERTH_SYNC_INTERVAL, in milliseconds. */
  #interval = 300_000;

  constructor(options: SyncOptions) {
    this.#options = options;
    this.#commits = new ReceivedCommits(options.log);
    this.#partner = new Partner({
      onVerdict: (verdict) => {
        this.#verdict = verdict;
        if (!verdict.good) this.wake();
      },
      onRepair: () => {
        this.#repair = true;
        this.wake();
      },
    });
    this.#volume = new SyncedVolume({ ...options, partner: this.#partner, commits: this.#commits });
  }

  /** Requests the refs as soon as possible. */
  wake(): void {
    this.#wake.wake();
  }

  /**
   * Takes the lease, which this program keeps, and prepares the volume: completely, or only its
   * tracked files if a supervisor already works there. @throws BerthError
   */
  async prepare(signal: AbortSignal): Promise<InitReport> {
    const started = performance.now();
    const { readConfig, log } = this.#options;
    const config = readConfig();
    this.#interval = config.syncInterval ?? this.#interval;
    const onPeer = (peer: Peer) => this.#partner.join(peer);
    const sharing = { role: 'sync' as const, accepts: () => !this.#volume.isBusy, onPeer };
    this.#volume.lease = await acquire({ config, log, signal, sharing });
    const live = this.#partner.present ? this.#live() : undefined;
    await this.#commits.load(config);
    const report = await this.#volume.change(config, signal, live, started);
    const { configDirectory, stateDirectory, owner } = config;
    if (!live) await handOver([configDirectory, stateDirectory], owner, log);
    const { metrics } = this.#options;
    if (report.remote === 'current') metrics.confirmed();
    if (isRemoteFailure(report)) this.#failures = 1;
    if (this.#failures > 0) metrics.synced('failed');
    await this.#note(report, config);
    // A commit that is held back may have been corrected since.
    if (this.#commits.bad) this.wake();
    this.#volume.isBusy = false;
    return report;
  }

  /** Returns when `signal` aborts. @throws BerthError `lease_held` if the lease is lost */
  async run(signal: AbortSignal): Promise<void> {
    const lost = this.#volume.lease?.lost ?? signal;
    const over = AbortSignal.any([signal, lost]);
    const { log, metrics } = this.#options;
    while (!over.aborted) {
      const regular = waitForRound(this.#failures, this.#interval, afterFailure);
      const wait = Math.min(regular, this.#repairDue());
      await this.#wake.wait(wait, over);
      if (over.aborted) break;
      const started = performance.now();
      try {
        await this.#turn(over);
        this.#failures = 0;
        metrics.synced('succeeded');
      } catch (error) {
        if (over.aborted) break;
        this.#failures += 1;
        metrics.synced('failed');
        const text = 'the volume keeps its commit: a sync failed, and is tried again';
        log.warn('sync_failed', text, { error, attempt: this.#failures });
      }
      await pause(Math.max(0, started + shortest - performance.now()), over);
    }
    if (lost.aborted && !signal.aborted) throw lost.reason;
  }

  /** Releases the lease, or hands it over to the supervisor. */
  async stop(): Promise<void> {
    await this.#volume.lease?.release();
  }

  async #turn(signal: AbortSignal): Promise<void> {
    const config = this.#options.readConfig();
    if (!this.#isBad()) return void (await this.#follow(config, signal));
    try {
      await this.#goBack(config, signal);
    } catch (error) {
      // If the last good commit cannot be written, a newer one may help.
      if (signal.aborted || !(await this.#follow(config, signal))) throw error;
    }
  }

  /** Writes what the server has, or what a tool has changed. @returns whether the volume was written */
  async #follow(config: InitConfig, signal: AbortSignal): Promise<boolean> {
    const { log, metrics } = this.#options;
    if (this.#repairDue() === 0) return this.#repairNow(config, signal);
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(patience)]);
    const target = await currentTarget(config, log, bounded).catch((error: unknown) => {
      metrics.checked('failed', 0);
      throw error;
    });
    metrics.confirmed();
    const { commit } = target;
    const isUnfinished = this.#volume.isUnfinished(config);
    const isSame = commit === this.#volume.commit && !isUnfinished;
    metrics.checked(isSame ? 'unchanged' : 'changed', target.bytes);
    if (commit !== this.#commits.bad?.commit || this.#commits.isDeleted(config)) {
      await this.#commits.forget(config);
      metrics.rolledBack(undefined);
    }
    await this.#commits.add(commit, config);
    const isHeldBack = commit === this.#commits.bad?.commit && !isUnfinished;
    if (isSame || isHeldBack) {
      const isQueried = await this.#tokenQuery.runIfDue(config, log, signal);
      const isConfirmed = isSame && (await this.#volume.confirm(config));
      // The supervisor reads again what is known of the commit and of the token.
      if (isQueried || isConfirmed) this.#partner.end(this.#volume.commit);
      return false;
    }
    await this.#pass(config, signal, 'commit');
    return true;
  }

  /** Milliseconds until the repair that the supervisor has asked for; Infinity without one. */
  #repairDue(): number {
    if (!this.#repair) return Number.POSITIVE_INFINITY;
    return Math.max(0, this.#repairedAt + betweenRepairs - performance.now());
  }

  /** Writes the tracked files again. A failure keeps the request. */
  async #repairNow(config: InitConfig, signal: AbortSignal): Promise<boolean> {
    this.#repair = false;
    this.#repairedAt = performance.now();
    try {
      await this.#pass(config, signal, 'repair');
      return true;
    } catch (error) {
      this.#repair = true;
      throw error;
    }
  }

  /** Whether no worker starts with the commit on the volume. */
  #isBad(): boolean {
    const { commit, good } = this.#verdict ?? {};
    const isJudged = commit === this.#volume.commit && good === false;
    return isJudged || this.#commits.bad?.commit === this.#volume.commit;
  }

  async #goBack(config: InitConfig, signal: AbortSignal): Promise<void> {
    const { log, metrics } = this.#options;
    const bad = this.#volume.commit;
    const known = [this.#verdict, this.#commits.bad].find((one) => one?.commit === bad);
    const { reason = 'no reason was given' } = known ?? {};
    const record = await previousCommit(config);
    if (!record || record.commit === bad || !this.#commits.has(record.commit, config)) {
      this.#verdict = undefined;
      await this.#commits.forget(config);
      const text =
        'no worker starts with this commit, and there is no earlier commit to go back to';
      log.error('commit_bad', text, { commit: bad, why: reason });
      return;
    }
    const good = record.commit;
    await this.#commits.blame({ commit: bad, last_good_commit: good, reason }, config);
    const why = rolledBack(bad, good, reason);
    await this.#pass(config, signal, 'rollback', async (volume) =>
      previousSource(config, record, volume, why),
    );
    // If an operator has the commit tried again, it gets a verdict of its own.
    if (this.#verdict?.commit === bad) this.#verdict = undefined;
    const text = `no worker starts with commit ${bad.slice(0, 7)}: the volume has ${good.slice(0, 7)} again`;
    log.error('commit_rolled_back', text, { commit: bad, last_good_commit: good, why: reason });
    metrics.rolledBack({ bad, good });
  }

  async #pass(
    config: InitConfig,
    signal: AbortSignal,
    kind: PassKind,
    source?: LivePreparation['source'],
  ): Promise<void> {
    const { metrics } = this.#options;
    const started = performance.now();
    const seconds = () => (performance.now() - started) / 1_000;
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(config.timeout)]);
    this.#volume.isBusy = true;
    try {
      const report = await this.#volume.change(config, bounded, this.#live(source), started);
      metrics.passed(kind, seconds());
      await this.#note(report, config);
      if (isRemoteFailure(report) && !source) throw remoteFailure(report);
    } catch (error) {
      metrics.passed('failed', seconds());
      throw asBerthError(error);
    } finally {
      this.#volume.isBusy = false;
    }
  }

  /** Records what the server has sent. */
  async #note({ remote, commit }: InitReport, config: InitConfig): Promise<void> {
    if (remote !== 'current') return;
    if (commit !== this.#commits.bad?.commit) await this.#commits.forget(config);
    await this.#commits.add(commit, config);
  }

  #live(source?: LivePreparation['source']): LivePreparation {
    return {
      begin: (commit) => this.#partner.begin(commit),
      isGood: (commit) => this.#verdict?.commit === commit && this.#verdict.good,
      ...(source ? { source } : {}),
    };
  }
}

/** Whether the git server failed. A commit that is held back is not such a failure. */
function isRemoteFailure({ remote, remote_error }: InitReport): boolean {
  return remote === 'failed' && remote_error?.code !== 'configuration_invalid';
}

function remoteFailure({ remote_error }: InitReport): Error {
  return new Error(remote_error?.message ?? 'the git server failed');
}
