/**
 * Opens the store of jobs and connects the jobs with the parts that run prompts. The store lies on the volume, so it is
 * opened when the lease is held.
 */
import { randomUUID } from 'node:crypto';
import type { ErrorCode } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';
import type { AttachmentStore } from '../attachments/attachment-store.ts';
import { KeptAttachments } from '../attachments/kept.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';
import type { SupervisorConfig } from '../config.ts';
import { verdicts } from '../jobs/after-run.ts';
import type { Approvals } from '../jobs/approvals.ts';
import { Callbacks } from '../jobs/callbacks/callbacks.ts';
import { isEnd, type Job } from '../jobs/job.ts';
import { JobRetention } from '../jobs/job-retention.ts';
import type { JobStore } from '../jobs/job-store.ts';
import { Jobs } from '../jobs/jobs.ts';
import { accountReasons, limitSpread, restartReasons } from '../jobs/limit-ends.ts';
import { JobRunner } from '../jobs/runner.ts';
import { openJobStore } from '../jobs/sqlite/sqlite-job-store.ts';
import type { Metrics } from '../metrics/counters.ts';
import type { Profiles } from '../profiles/profiles.ts';
import type { SessionMirror } from '../sessions/mirror.ts';
import { connectApprovals } from './approvals.ts';
import type { Parts } from './compose.ts';
import { accountsOf, KnownAccounts } from './known-accounts.ts';
import { openRedisJobs } from './redis-jobs.ts';

export interface JobParts {
  jobs: Jobs;
  approvals: Approvals;
  /** @throws BerthError `invalid_request` if callbacks to this URL are not allowed */
  checkCallback: (url: string) => Promise<void>;
  jobStore: JobStore;
  /** Copies sessions for other replicas; absent if they are not copied. */
  mirror: SessionMirror | undefined;
  /** Call it with each limit that this replica has heard of. */
  limitHeard: (login: string, limit: UsageLimit) => void;
  /** Delivers callbacks, and removes old jobs, from now on. */
  start: () => void;
  /** Runs jobs from now on. Does nothing after `drain`. */
  run: () => void;
  /** Takes no more jobs. */
  drain: () => void;
  /** Call it when the prompts have ended. Stores the ends of their jobs, and closes the store. */
  stop: () => Promise<void>;
}

/** @throws BerthError `config_invalid` if the secret of callbacks cannot be used */
export async function openJobs(
  parts: Parts,
  { config, profiles, log }: { config: SupervisorConfig; profiles: Profiles; log: Log },
): Promise<JobParts> {
  const { promptResolver, continuation, prompts, limitEnds, metrics } = parts;
  const callbacks = await Callbacks.open({
    hosts: config.callbackHosts,
    secretFile: config.webhookSecretFile,
    environment: config.inherited,
    log,
  });
  const { stateDirectory } = config;
  const most = config.jobQueueLimit;
  // Replicas share jobs, budgets, the pause and limits by Redis.
  const redis =
    config.redisUrl === undefined
      ? undefined
      : await openRedisJobs(config.redisUrl, parts, { config, profiles, log, most });
  const store = redis?.store ?? (await openJobStore({ stateDirectory, most, log }));
  // The volume of this replica is not that of another one.
  const attachments = redis?.attachments ?? new KeptAttachments(stateDirectory);
  const runner: JobRunner = new JobRunner({
    ...{ store, promptResolver, continuation, prompts, attachments, log },
    approvals: parts.liveApprovals,
    owner: randomUUID(),
    shared: redis !== undefined,
    workers: jobWorkers(config),
    now: Date.now,
    onRun: (job, outcome) => {
      countRun(metrics, job, outcome);
      if (isEnd(job.state) && job.state !== 'failed') forgetFiles(attachments, job);
      if (job.sessionId !== null) redis?.mirror?.note(job.sessionId);
    },
    onExpired: () => metrics.jobEnded('expired'),
  });
  const retention = new JobRetention({
    store,
    retention: config.jobRetention,
    mostJobs: config.jobRetentionCount,
    mostBytes: config.jobRetentionSize,
    afterRound: async () => {
      await attachments.sweep(async (id) => {
        const job = await store.readHead(id);
        return job !== undefined && (!isEnd(job.state) || job.state === 'failed');
      });
    },
    log,
  });
  const wiring = { config, profiles, store, callbacks, log };
  const { approvals, notices } = connectApprovals(parts, wiring);
  const accounts = new KnownAccounts(
    stateDirectory,
    () => accountsOf(profiles.all(), config.inherited, parts.login),
    log,
  );
  /** Until the jobs that wait for the limits of the account before are due. */
  let isAnotherAccount = await accounts.haveChanged();
  const saving = new SerialQueue();
  // The next start must not take the account of now for another one.
  const saveAccounts = () =>
    saving.add(async () => {
      if (!isAnotherAccount) await accounts.save();
    });
  const forget = limitEnds.onEnd((reasons, spread) => {
    void runner.unpark(reasons, spread);
    void saveAccounts();
  });
  const unparkAtStart = async (): Promise<void> => {
    await runner.unpark(restartReasons(parts.pause.state !== undefined));
    if (!isAnotherAccount) return saveAccounts();
    await runner.unpark(accountReasons, limitSpread, () => {
      isAnotherAccount = false;
      void saveAccounts();
    });
  };
  const jobs = new Jobs({
    ...{ store, promptResolver, attachments },
    timeout: config.jobTimeout,
    onAccepted: ({ priority }) => metrics.jobAccepted(priority),
    onCancelled: (id) => {
      metrics.jobEnded('cancelled');
      runner.cancelled(id);
    },
  });
  return {
    jobs,
    approvals,
    jobStore: store,
    mirror: redis?.mirror,
    limitHeard: (login, limit) => redis?.shared.note(login, limit),
    checkCallback: (url) => callbacks.check(url),
    run: () => runner.start(),
    start: () => {
      void unparkAtStart();
      redis?.shared.start();
      retention.start();
      callbacks.start(store, metrics.jobCallback);
      void notices.start();
    },
    drain: () => {
      runner.drain();
      // A job that waits stays parked, and continues after the next start.
      parts.liveApprovals.releaseAll();
    },
    stop: async () => {
      forget();
      await saving.idle();
      await retention.stop();
      await runner.stop();
      await notices.stop();
      await callbacks.stop();
      await redis?.shared.stop();
      await redis?.mirror?.stop();
      await store.close();
    },
  };
}

/** The attachments of a job that has ended, and cannot be retried. */
function forgetFiles(attachments: AttachmentStore, { id, request }: Job): void {
  if (request.attachments) void attachments.remove(id);
}

/** All workers but one, and at least one. */
function jobWorkers({ jobWorkers: wanted, maxWorkers }: SupervisorConfig): number {
  return Math.min(maxWorkers, wanted ?? Math.max(1, maxWorkers - 1));
}

function countRun(metrics: Metrics, { state }: Job, outcome: string): void {
  if (isEnd(state)) metrics.jobEnded(state);
  if (state === 'succeeded' || state === 'parked') metrics.jobRun(state);
  else if (verdicts[outcome as ErrorCode] === 'requeue') metrics.jobRun('requeued');
  else metrics.jobRun('failed');
}
