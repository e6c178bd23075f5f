/** What `GET /v1/status` tells, put together from what the parts know. */
import { redact } from '../shared/redact.ts';
import { version } from '../shared/version.ts';
import type { SupervisorConfig } from './config.ts';
import type { CredentialsState } from './credentials/watch.ts';
import type { Status } from './http/status.ts';
import type { MemoryReadings } from './memory/guard.ts';
import type { Pool } from './pool/pool.ts';
import type { DiskWatch } from './sessions/disk.ts';

export interface StatusParts {
  state: Status['state'];
  /** By performance.now(). */
  started: number;
  cliVersion: string;
  config: SupervisorConfig;
  pool: Pool;
  memory: MemoryReadings;
  credentials: CredentialsState;
  disk: DiskWatch;
  /** How many sessions there are. */
  sessions: number;
}

export function describeStatus(parts: StatusParts): Status {
  const { pool, config } = parts;
  const { container, workers } = parts.memory;
  const now = performance.now();
  const seconds = (since: number): number => Math.round((now - since) / 1_000);
  return {
    version,
    cli_version: parts.cliVersion,
    state: parts.state,
    uptime_s: seconds(parts.started),
    workers: pool.workers.map((worker) => ({
      name: worker.name,
      state: worker.state,
      pid: worker.process.pid ?? null,
      memory: workers.get(worker.name) ?? null,
      age_s: seconds(worker.startedAt),
    })),
    launch_failure: pool.launchFailure ? redact(pool.launchFailure.message) : null,
    queue: { length: pool.queued, limit: config.queueLimit },
    memory: { limit: container?.limit ?? null, working_set: container?.workingSet ?? null },
    sessions: parts.sessions,
    disk: {
      level: parts.disk.level,
      volumes: parts.disk.readings.map(({ path, total, free, level }) => ({
        path,
        size: total,
        free,
        level,
      })),
    },
    credentials: describeCredentials(parts.credentials, config),
  };
}

function describeCredentials(
  state: CredentialsState,
  { inherited }: SupervisorConfig,
): Status['credentials'] {
  const variables = ['ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN', 'CLAUDE_CODE_OAUTH_TOKEN'];
  // Each of these beats the file.
  const fromEnvironment = variables.some((name) => inherited[name]);
  const fromFile = state.kind === 'missing' ? 'none' : 'file';
  const credentials = state.kind === 'valid' ? state.credentials : undefined;
  return {
    source: fromEnvironment ? 'environment' : fromFile,
    state: state.kind,
    expires_at: isoTime(credentials?.expiresAt),
    login_expires_at: isoTime(credentials?.refreshTokenExpiresAt),
  };
}

function isoTime(milliseconds: number | undefined): string | null {
  return milliseconds === undefined ? null : new Date(milliseconds).toISOString();
}
