/** Opens the store of jobs on Redis, with what else the replicas share. BullMQ is loaded only here. */
import type { Log } from '../../shared/log.ts';
import type { AttachmentStore } from '../attachments/attachment-store.ts';
import type { SupervisorConfig } from '../config.ts';
import type { JobStore } from '../jobs/job-store.ts';
import { accountOf } from '../profiles/login.ts';
import type { Profiles } from '../profiles/profiles.ts';
import type { Parts } from './compose.ts';
import { SharedState } from './share-state.ts';

export interface RedisJobs {
  store: JobStore;
  attachments: AttachmentStore;
  shared: SharedState;
}

export interface RedisJobsOptions {
  config: SupervisorConfig;
  profiles: Profiles;
  log: Log;
  /** The most jobs that have not ended. */
  most: number;
}

/** Connects; a server that is away is waited for in the background. @param url a secret */
export async function openRedisJobs(
  url: string,
  parts: Pick<Parts, 'ledger' | 'pause' | 'gate' | 'admission' | 'promptRate'>,
  { config, profiles, log, most }: RedisJobsOptions,
): Promise<RedisJobs> {
  const { ledger, pause, gate, admission, promptRate } = parts;
  const { RedisJobStore } = await import('../jobs/redis/redis-job-store.ts');
  const { redisPrefix: name, redisCheck: check, replica, replicaLost } = config;
  const store = new RedisJobStore({
    ...{ url, log, name, check, replicaLost, mostWaiting: most },
    mostFileBytes: config.redisAttachmentSize,
    ...(replica === undefined ? {} : { replica }),
  });
  await store.open();
  promptRate.shareBy((token, profile, limit) => store.starts.count(token, profile, limit));
  const shared = new SharedState({
    exchange: (own) => store.states.exchange(own),
    ...{ ledger, pause },
    accountOf: (login) => accountOf(login, profiles.all(), config.inherited),
    heard: (login, limit) => gate.heard(login, limit),
    onPaused: () => admission.review(),
  });
  return { store, attachments: store.attachments, shared };
}
