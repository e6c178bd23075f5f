/**
 * The supervisor's part of a sync: init writes a new commit to the volume while sessions run
 * (init/sync). While the volume changes, no worker starts and none is handed out; then all workers
 * that run no turn are replaced, so that each process has read one whole commit.
 * Invariants: the record of upstream is read before executable configuration is judged again, so
 * the guard never reverts what init writes. An init that ends in the middle of a change delays
 * prompts by `patience` only. Each commit is judged once: by the first worker that becomes ready
 * with it, or by `mostFailures` starts in a row that fail. After a bad judgement prompts wait for init to go back.
 * While a file differs from the record, no worker may start, so no start judges the commit. Failures of a
 * profile that failed before the change do not judge the new commit either.
 */
import type { Peer, Sharing } from '../../shared/lease.ts';
import type { Log } from '../../shared/log.ts';
import { redact } from '../../shared/redact.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import { type SyncReply, syncMessage } from '../../shared/sync-messages.ts';
import { pause } from '../../shared/waiting.ts';
import type { InitReportReader } from '../boot/init-report.ts';
import type { LastGoodCommit } from '../boot/last-good-commit.ts';
import type { ConfigurationGuard } from '../configuration/guard.ts';
import type { Pool } from '../pool/pool.ts';
import type { LivePrompts } from '../prompts/live-prompts.ts';

export interface ConfigSyncOptions {
  pool: Pick<Pool, 'freeze' | 'thaw' | 'workers' | 'recycle' | 'launchFailures'>;
  guard: Pick<ConfigurationGuard, 'hold' | 'reload'>;
  lastGood: Pick<LastGoodCommit, 'load' | 'current' | 'since'>;
  initReport: Pick<InitReportReader, 'load'>;
  live: Pick<LivePrompts, 'count'>;
  /** Called when the volume has another commit. */
  onCommit: () => void;
  log: Log;
  /** Milliseconds after which prompts do not wait any longer for the end of a change. */
  patience?: number;
  /** Milliseconds after which prompts do not wait any longer for init to go back. */
  rollBackPatience?: number;
}

const mostFailures = 3;
/** Milliseconds to wait for turns whose process may still read its configuration; many, for a node with little CPU. */
const longestRead = 10_000;
const settle = 150;

export class ConfigSync {
  readonly sharing: Sharing;
  readonly #options: ConfigSyncOptions;
  readonly #work = new SerialQueue();
  #peer: Peer | undefined;
  #open = false;
  #timer: NodeJS.Timeout | undefined;
  #holds = false;
  /** The commit that no worker has judged yet; undefined while the volume may differ from the record. */
  #judging: string | undefined;
  #verdict: SyncReply | undefined;
  /** The profiles whose last start before a change failed, until a worker of the profile is ready. */
  readonly #failedBefore = new Set<string>();

  constructor(options: ConfigSyncOptions) {
    this.#options = options;
    this.sharing = {
      role: 'serve',
      accepts: () => this.#open,
      onPeer: (peer) => {
        this.#peer = peer;
        if (this.#open) this.#listen();
      },
    };
  }

  /** From now on init may change the volume. Call it when the configuration has been read. */
  open(): void {
    this.#open = true;
    this.#judging = this.#options.lastGood.current;
    this.#listen();
  }

  stop(): void {
    this.#open = false;
    clearTimeout(this.#timer);
  }

  /** A worker of the profile has become ready, or could not be started. */
  started(profile: string, ready: boolean): void {
    const { lastGood, pool } = this.#options;
    if (ready) this.#failedBefore.delete(profile);
    const commit = this.#judging;
    if (commit === undefined || commit !== lastGood.current || this.#holds) return;
    if (ready) {
      this.#judge({ kind: 'verdict', commit, good: true });
      return;
    }
    if (this.#failedBefore.has(profile)) return;
    const failure = pool.launchFailures.get(profile);
    if (!failure || failure.attempts < mostFailures || !lastGood.since(profile)) return;
    const reason = redact(failure.error.message).slice(0, 1_000);
    this.#judge({ kind: 'verdict', commit, good: false, reason });
    if (this.#peer && !this.#peer.closed.aborted) this.#awaitRollBack(commit);
  }

  /** Prompts wait until the change has come, or do not wait if init has no commit to go back to. */
  #awaitRollBack(commit: string): void {
    const { pool, log, rollBackPatience = 10_000 } = this.#options;
    pool.freeze();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const text =
        'init has not gone back to the last good commit in time; prompts are served again';
      log.warn('sync_unfinished', text, { commit });
      pool.thaw();
    }, rollBackPatience);
    this.#timer.unref();
  }

  #judge(verdict: SyncReply): void {
    this.#judging = undefined;
    this.#verdict = verdict;
    this.#peer?.send(verdict);
  }

  #listen(): void {
    const peer = this.#peer;
    if (!peer || peer.closed.aborted) return;
    if (this.#verdict) peer.send(this.#verdict);
    peer.onMessage((message) => {
      const { data } = syncMessage.safeParse(message);
      if (data?.kind === 'begin') void this.#work.add(() => this.#hold(peer, data.commit));
      if (data?.kind === 'end') void this.#work.add(() => this.#adopt(data.commit));
    });
  }

  async #hold(peer: Peer, commit: string): Promise<void> {
    const { pool, guard, live, patience = 60_000 } = this.#options;
    this.#holds = true;
    pool.freeze();
    // The end of the change forgets these failures.
    for (const profile of pool.launchFailures.keys()) this.#failedBefore.add(profile);
    guard.hold();
    // A starting process may have read a part of its configuration.
    for (const worker of pool.workers) {
      if (worker.state === 'starting') void pool.recycle(worker, 'renewed', true);
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const text =
        'init has not finished a change of the configuration in time; prompts are served again';
      this.#options.log.warn('sync_unfinished', text, { commit });
      void this.#work.add(() => this.#adopt(undefined));
    }, patience);
    this.#timer.unref();
    const until = performance.now() + longestRead;
    while (live.count('sent') > 0 && performance.now() < until) await pause(20);
    // A turn reports its session just before it reads instructions and skills.
    if (live.count('running') > 0) await pause(settle);
    peer.send({ kind: 'quiet', commit } satisfies SyncReply);
  }

  /** @param commit undefined if init has not announced the end of its change */
  async #adopt(commit: string | undefined): Promise<void> {
    const { pool, guard, lastGood, initReport, log } = this.#options;
    const before = lastGood.current;
    // init also announces that the report about the same commit has changed.
    if (!this.#holds && commit === before) return initReport.load();
    clearTimeout(this.#timer);
    let isRight = false;
    try {
      await lastGood.load();
      await initReport.load();
      isRight = await guard.reload();
      if (!isRight) this.#peer?.send({ kind: 'repair' } satisfies SyncReply);
    } catch (error) {
      log.error('failed', 'the new configuration could not be read', { error });
    }
    this.#holds = false;
    if (lastGood.current !== before) this.#verdict = undefined;
    this.#judging = isRight && !this.#verdict ? lastGood.current : undefined;
    if (lastGood.current !== before) {
      log.info('configuration_synced', 'the volume has a new commit; workers are renewed', {
        commit: lastGood.current,
        previous_commit: before,
      });
      this.#options.onCommit();
      for (const worker of pool.workers) {
        const keepsWorking = worker.state !== 'busy' && worker.works;
        if (!keepsWorking) void pool.recycle(worker, 'renewed');
      }
    }
    pool.thaw();
  }
}
