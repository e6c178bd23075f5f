/** Opens the store of jobs on Redis, with what else the replicas share. BullMQ is loaded only here. */
import { hostname } from 'node:os';
import type { Log } from '../../shared/log.ts';
import type { AttachmentStore } from '../attachments/attachment-store.ts';
import { nameOfReplica } from '../boot/replica-name.ts';
import type { SupervisorConfig } from '../config.ts';
import type { JobStore } from '../jobs/job-store.ts';
import { accountOf } from '../profiles/login.ts';
import type { Profiles } from '../profiles/profiles.ts';
import { SessionMirror } from '../sessions/mirror.ts';
import type { Parts } from './compose.ts';
import { SharedState } from './share-state.ts';

export interface RedisJobs {
  store: JobStore;
  attachments: AttachmentStore;
  shared: SharedState;
  /** Absent if no session is copied. */
  mirror: SessionMirror | undefined;
}

export interface RedisJobsOptions {
  config: SupervisorConfig;
  profiles: Profiles;
  log: Log;
  /** The most jobs that have not ended. */
  most: number;
}

/** Bytes of one transcript. */
const longestTranscript = 16 * 1024 ** 2;
/** Milliseconds for which a copy stays if sessions are kept for ever. */
const longestExpiry = 90 * 24 * 3_600_000;

/** Connects; a server that is away is waited for in the background. @param url a secret */
export async function openRedisJobs(
  url: string,
  parts: Parts,
  { config, profiles, log, most }: RedisJobsOptions,
): Promise<RedisJobs> {
  const { ledger, pause, gate, admission, promptRate } = parts;
  const { RedisJobStore } = await import('../jobs/redis/redis-job-store.ts');
  const { redisPrefix: name, redisCheck: check, replicaLost, stateDirectory } = config;
  const { store: sessions } = parts;
  const { redisMirrorSize: mostMirrored } = config;
  let mirror: SessionMirror | undefined;
  const store = new RedisJobStore({
    ...{ url, log, name, check, replicaLost, mostWaiting: most },
    mostFileBytes: config.redisAttachmentSize,
    mirror: { most: mostMirrored, expiry: config.sessionRetention || longestExpiry },
    adopt: async (session) => {
      if (mirror) return mirror.adopt(session);
      // The pod of an earlier name may have had this volume.
      return (await sessions.read(session)) ? 'here' : 'none';
    },
    replica: config.replica ?? (await nameOfReplica(stateDirectory, hostname(), log)),
  });
  if (mostMirrored > 0) {
    const { transcripts, workspaces } = parts;
    mirror = new SessionMirror({
      ...{ kept: store.mirrored, sessions, transcripts, workspaces, log },
      configDirectory: config.configDirectory,
      longest: Math.min(mostMirrored, longestTranscript),
    });
  }
  await store.open();
  promptRate.shareBy(store.starts);
  const shared = new SharedState({
    exchange: (own) => store.states.exchange(own),
    previous: () => store.states.own(),
    ...{ ledger, pause },
    accountOf: (login) => accountOf(login, profiles.all(), config.inherited),
    heard: (login, limit) => gate.heard(login, limit),
    onPaused: () => admission.review(),
  });
  return { store, attachments: store.attachments, shared, mirror };
}
