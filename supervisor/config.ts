/**
 * The supervisor's settings: their definitions, from which docs/configuration.md is generated.
 * Invariant: apart from main.ts, only this file of the supervisor reads the environment.
 */
import {
  configDirectory,
  credentialsPolicy,
  credentialsSource,
  logLevel,
  logPretty,
  stateDirectory,
  stateDirectoryOf,
  terminationLog,
  workspaceDirectory,
} from '../shared/common-settings.ts';
import { type Environment, readSettings, type Settings, setting } from '../shared/config.ts';
import {
  type Amount,
  amount,
  choice,
  dollars,
  duration,
  durationOrNever,
  hostAndPort,
  hostNames,
  httpUrl,
  integer,
  listen,
  path,
  publicUrl,
  redisPrefix,
  redisUrl,
  replicaName,
  secretName,
  size,
  sizes,
  text,
} from '../shared/setting-types.ts';
import { allowedHosts } from './jobs/callbacks/allowed-hosts.ts';

const second = 1_000;
const hour = 3_600_000;
const day = 24 * hour;

export const supervisorDefinitions = {
  configDirectory: configDirectory('/home/node/.claude'),
  stateDirectory,
  workspaceDirectory,
  credentialsSource,
  credentialsPolicy,
  claudePath: setting({
    name: 'BERTH_CLAUDE_PATH',
    schema: path,
    optional: true,
    description:
      'The Claude Code CLI; the default is `claude` on the PATH, otherwise the CLI that init installed on the volume (`BERTH_CLAUDE_TARBALL`).',
  }),
  httpListen: setting({
    name: 'BERTH_HTTP_LISTEN',
    schema: listen,
    default: ':8080',
    description: 'The address of the API. Its requests need a token.',
  }),
  metricsListen: setting({
    name: 'BERTH_METRICS_LISTEN',
    schema: listen,
    default: ':9090',
    description:
      'The address of /livez, /readyz and /metrics, without a token; /problems there answers `berth doctor` in the same pod only.',
  }),
  apiTokensFile: setting({
    name: 'BERTH_API_TOKENS_FILE',
    schema: path,
    optional: true,
    description:
      'A file with API tokens, one on each line as `name:sha256:<hex>` (`berth token NAME` creates one), or a directory of such files, as a Secret mounts it. Read again when it changes. Required under Kubernetes; elsewhere, without it, a token is created at each start and printed once.',
  }),
  profilesFile: setting({
    name: 'BERTH_PROFILES_FILE',
    schema: path,
    optional: true,
    description:
      'The YAML file with the profiles (docs/profiles.md): what prompts may do and cost. Read again when it changes. Without it there is one profile, `default`, which adds nothing to the permissions in settings.json.',
  }),
  warmWorkers: setting({
    name: 'BERTH_WARM_WORKERS',
    schema: integer(0, 64),
    default: '1',
    description:
      'The number of spare CLI processes for prompts that start a new session with the built-in profile; other profiles have `warm`.',
  }),
  sharedSpares: setting({
    name: 'BERTH_SHARED_SPARES',
    schema: integer(0, 64),
    default: '1',
    description:
      'The number of further spare CLI processes, for prompts that set a model, instructions, tools or a schema of their own (docs/profiles.md). They are kept in free places, and in the place of a session that has been idle for a minute.',
  }),
  maxWorkers: setting({
    name: 'BERTH_MAX_WORKERS',
    schema: integer(1, 64),
    default: '4',
    description: 'The maximum number of CLI processes: warm, busy and idle together.',
  }),
  queueLimit: setting({
    name: 'BERTH_QUEUE_LIMIT',
    schema: integer(0, 10_000),
    default: '100',
    description:
      'The maximum number of prompts that wait for a worker; further prompts are answered with 429.',
  }),
  promptTimeout: setting({
    name: 'BERTH_PROMPT_TIMEOUT',
    schema: duration(second, 24 * hour),
    default: '280s',
    description:
      "The maximum time of a prompt from acceptance, including waiting. The default is below n8n's limit of 300 s.",
  }),
  jobWorkers: setting({
    name: 'BERTH_JOB_WORKERS',
    schema: integer(1, 64),
    optional: true,
    description:
      'The maximum number of jobs that run at once; jobs wait behind prompts. Without it all of BERTH_MAX_WORKERS but one, and at least one.',
  }),
  jobTimeout: setting({
    name: 'BERTH_JOB_TIMEOUT',
    schema: duration(second, 24 * hour),
    default: '2h',
    description:
      'The maximum and the default time of one run of a job, instead of BERTH_PROMPT_TIMEOUT. A shorter `limits.timeout` of the profile counts too.',
  }),
  jobQueueLimit: setting({
    name: 'BERTH_JOB_QUEUE_LIMIT',
    schema: integer(1, 100_000),
    default: '20000',
    description:
      'The maximum number of jobs that have not ended; further jobs are answered with 429 `jobs_full`. One token may have half of them.',
  }),
  jobRetention: setting({
    name: 'BERTH_JOB_RETENTION',
    schema: durationOrNever(hour, 3650 * day),
    default: '14d',
    description:
      'How long a job is kept after its end, with its prompt, result and events; `0` keeps jobs until one of the two bounds below is reached.',
  }),
  jobRetentionCount: setting({
    name: 'BERTH_JOB_RETENTION_COUNT',
    schema: integer(0, 1_000_000),
    default: '20000',
    description: 'The maximum number of ended jobs; above it the oldest ones are removed.',
  }),
  jobRetentionSize: setting({
    name: 'BERTH_JOB_RETENTION_SIZE',
    schema: size(1024 ** 2, 1024 ** 4),
    default: '512Mi',
    description:
      'The maximum size of ended jobs, with prompts, results and events; above it the oldest ones are removed.',
  }),
  maxPromptBytes: setting({
    name: 'BERTH_MAX_PROMPT_BYTES',
    schema: size(1024, 16 * 1024 ** 2),
    default: '1Mi',
    description:
      "The maximum size of a prompt's JSON body; a larger body is answered with 413. Put large input into attachments or files of the workspace.",
  }),
  publicUrl: setting({
    name: 'BERTH_PUBLIC_URL',
    schema: publicUrl,
    optional: true,
    description:
      'Where people reach this API, such as `https://berth.example.com`: the start of the links that decide [approvals](approvals.md). Without it, the messages of approvals have no link.',
  }),
  attachmentMaxFiles: setting({
    name: 'BERTH_ATTACHMENT_MAX_FILES',
    schema: integer(0, 1_000),
    default: '20',
    description: 'The maximum number of files that one prompt may bring; `0` refuses all files.',
  }),
  attachmentMaxSize: setting({
    name: 'BERTH_ATTACHMENT_MAX_SIZE',
    schema: size(1, 256 * 1024 ** 2),
    default: '10Mi',
    description:
      'The maximum size of all files of one prompt together. Each prompt that waits keeps its files in memory; the API of the model accepts 32 MB at most.',
  }),
  idempotencyWindow: setting({
    name: 'BERTH_IDEMPOTENCY_WINDOW',
    schema: duration(0, 7 * 24 * hour),
    default: '24h',
    description:
      'How long the same Idempotency-Key returns the same answer without running the prompt again. Kept only in memory: lost at a restart.',
  }),
  dailyBudget: setting({
    name: 'BERTH_DAILY_BUDGET_USD',
    schema: dollars,
    optional: true,
    description:
      'The maximum cost of all prompts of a day (UTC), in US dollars at list prices. After that, prompts are answered with `daily_budget_exceeded` until the next day. Without it there is no limit.',
  }),
  workerIdleTimeout: setting({
    name: 'BERTH_WORKER_IDLE_TIMEOUT',
    schema: duration(second, 24 * hour),
    default: '15m',
    description:
      'How long an idle process is kept for its session. The session can still be continued later.',
  }),
  drain: setting({
    name: 'BERTH_DRAIN',
    schema: duration(0, hour),
    default: '60s',
    description:
      'How long running turns may continue after SIGTERM and BERTH_DRAIN_DELAY; then they are ended with the retryable error `draining`. Keep terminationGracePeriodSeconds 30 s above the sum of the two, and 12 s more with write-back.',
  }),
  drainDelay: setting({
    name: 'BERTH_DRAIN_DELAY',
    schema: duration(0, 10 * 60 * second),
    default: '3s',
    description:
      'How long prompts are accepted after SIGTERM, while /readyz already fails, until a Service or proxy has noticed. Then BERTH_DRAIN begins.',
  }),
  memorySoft: setting({
    name: 'BERTH_MEMORY_SOFT',
    schema: amount,
    default: '70%',
    description:
      "The container's working set above which idle workers are recycled, as a share of its memory limit or a size.",
  }),
  memoryHard: setting({
    name: 'BERTH_MEMORY_HARD',
    schema: amount,
    default: '85%',
    description:
      "The container's working set above which the largest worker is ended immediately, even in the middle of its turn, as a share of its memory limit or a size.",
  }),
  workerMemorySoft: setting({
    name: 'BERTH_WORKER_MEMORY_SOFT',
    schema: amount,
    default: '1Gi',
    description:
      "The memory of one worker's process tree above which it is recycled when its turn ends, as a share of the container's limit or a size.",
  }),
  workerMemoryHard: setting({
    name: 'BERTH_WORKER_MEMORY_HARD',
    schema: amount,
    default: '1536Mi',
    description:
      "The memory of one worker's process tree above which it is ended immediately, even in the middle of its turn, as a share of the container's limit or a size.",
  }),
  hangTimeout: setting({
    name: 'BERTH_HANG_TIMEOUT',
    schema: duration(second, 24 * hour),
    default: '3m',
    description:
      'How long a process may write nothing and use no CPU during a turn, while no tool runs. After that the turn continues in another process. While a tool runs, the limit is 11 minutes, a little more than the CLI allows a command. Longer timeouts of the CLI (`BASH_MAX_TIMEOUT_MS`, `MCP_TOOL_TIMEOUT`, `API_TIMEOUT_MS` ...) extend both.',
  }),
  settingsCheck: setting({
    name: 'BERTH_SETTINGS_CHECK',
    schema: choice('refuse', 'warn'),
    default: 'refuse',
    description:
      'What happens when the CLI ignores settings.json, a deny rule or a hook in it, or another settings file. `refuse`: prompts are answered with `configuration_invalid` until it is fixed. `warn`: prompts run without it; the log, /v1/status and a metric report it.',
  }),
  workingDirectory: setting({
    name: 'BERTH_WORKING_DIRECTORY',
    schema: choice('shared', 'session'),
    default: 'shared',
    description:
      'The working directory of sessions. `shared`: all sessions work in BERTH_WORKSPACE_DIR itself. `session`: each session works in its own directory below `sessions/` there, which is removed with the session.',
  }),
  gatewayUrl: setting({
    name: 'BERTH_GATEWAY_URL',
    schema: httpUrl,
    default: 'http://127.0.0.1:9418',
    description:
      'The gateway of init (docs/gateway.md), from which checkouts of repositories come and to which their commits go (docs/workspaces.md).',
  }),
  mirrors: setting({
    name: 'BERTH_MIRRORS',
    schema: integer(1, 10_000),
    default: '20',
    description:
      'The maximum number of mirrors of repositories below `mirrors/` in BERTH_WORKSPACE_DIR; the least recently used one is removed.',
  }),
  mirrorsSize: setting({
    name: 'BERTH_MIRRORS_SIZE',
    schema: size(1024 ** 2, 1024 ** 5),
    default: '4Gi',
    description:
      'The maximum size of all mirrors of repositories, and of one; a fetch that would need more is ended.',
  }),
  spareCheckouts: setting({
    name: 'BERTH_SPARE_CHECKOUTS',
    schema: integer(0, 100),
    default: '2',
    description:
      'For how many repositories berth keeps the files checked out for the next session, below `staging/` in BERTH_WORKSPACE_DIR. They are made after a session has begun with the repository, while the disk is not low. 0: none.',
  }),
  checkoutTimeout: setting({
    name: 'BERTH_CHECKOUT_TIMEOUT',
    schema: duration(second, 24 * hour),
    default: '10m',
    description:
      'The deadline of one fetch of a repository. The time limit of the prompt counts too.',
  }),
  sessionRetention: setting({
    name: 'BERTH_SESSION_RETENTION',
    schema: durationOrNever(hour, 3650 * day),
    default: '30d',
    description:
      'How long an unused session is kept, with its transcript and its own directory; `0` keeps sessions for ever. Also sets the clean-up of the CLI.',
  }),
  diskBudget: setting({
    name: 'BERTH_DISK_BUDGET',
    schema: size(1024 ** 2, 1024 ** 5),
    optional: true,
    description:
      'The maximum size of transcripts and own directories of sessions; above it the least recently used sessions are removed. Checked once an hour. Without it sessions are removed by age only (BERTH_SESSION_RETENTION), and a volume that is nearly full accepts no new sessions (BERTH_DISK_FULL).',
  }),
  diskLow: setting({
    name: 'BERTH_DISK_LOW',
    schema: amount,
    default: '10%',
    description:
      'The free space on the volume, on the workspace or in a directory of `BERTH_DISK_LIMITS` below which a warning is logged, as a share or a size.',
  }),
  diskFull: setting({
    name: 'BERTH_DISK_FULL',
    schema: amount,
    default: '64Mi',
    description:
      'The free space below which no new session starts (507 `disk_full`); existing sessions continue. A size counts for at most a tenth of a file system.',
  }),
  diskReserve: setting({
    name: 'BERTH_DISK_RESERVE',
    schema: size(0, 1024 ** 3),
    default: '4Mi',
    description:
      'Disk space on the volume that is reserved for berth and released when the volume is full, so that sessions can be removed, a pause recorded and a login stored; at most a tenth of the volume. `0` reserves nothing.',
  }),
  diskLimits: setting({
    name: 'BERTH_DISK_LIMITS',
    schema: sizes,
    optional: true,
    description:
      'Directories with a smaller limit than their file system, each with its size: the `sizeLimit` of an emptyDir, such as `/tmp=4Gi,/workspace=10Gi`. A pod that exceeds such a limit is evicted immediately, so these limits also count for `BERTH_DISK_LOW` and `BERTH_DISK_FULL`.',
  }),
  mcpOrigins: setting({
    name: 'BERTH_MCP_ORIGINS',
    schema: hostNames,
    default: '',
    description:
      'Host names of the web pages and browser extensions that may call `/mcp` (docs/mcp.md), with commas between them. Other clients send no Origin and need no entry. Without a value every request with an Origin is refused.',
  }),
  mcpHosts: setting({
    name: 'BERTH_MCP_HOSTS',
    schema: hostNames,
    default: '',
    description:
      'Host names under which `/mcp` may be called, with commas between them, such as `berth,berth.example.com`. Without a value every name may be used.',
  }),
  callbackHosts: setting({
    name: 'BERTH_CALLBACK_HOSTS',
    schema: allowedHosts,
    default: '',
    description:
      'The hosts to which callbacks of jobs may go (docs/callbacks.md): names, `*.suffix` and networks, each with a port or without, such as `n8n.n8n.svc:5678,*.example.com,10.0.0.0/8`. A loopback, link-local, multicast or metadata address is used only if a network lists it. Without a value `callback_url` is refused.',
  }),
  webhookSecretFile: setting({
    name: 'BERTH_WEBHOOK_SECRET_FILE',
    schema: path,
    optional: true,
    description:
      'The file with the secret that signs callbacks, `whsec_...`; two lines during a rotation. `berth token --webhook` makes a secret. Read again when it changes. Required with BERTH_CALLBACK_HOSTS.',
  }),
  redisUrl: setting({
    name: 'BERTH_REDIS_URL',
    schema: redisUrl,
    optional: true,
    secret: true,
    description:
      'The Redis 7 or Valkey 8 that stores jobs for several replicas or Deployments (docs/scaling.md), as `redis://user:password@host:6379/0`, or `rediss://` with TLS. Prefer BERTH_REDIS_URL_FILE. Without it jobs are stored on the volume, for one replica.',
  }),
  redisPrefix: setting({
    name: 'BERTH_REDIS_PREFIX',
    schema: redisPrefix,
    default: 'berth',
    description:
      'What all keys in Redis begin with, in braces. Deployments with the same prefix share their jobs; give each berth that does not share them a prefix of its own.',
  }),
  redisCheck: setting({
    name: 'BERTH_REDIS_CHECK',
    schema: choice('refuse', 'warn'),
    default: 'refuse',
    description:
      'What happens if Redis may lose jobs, because `appendonly` is not `yes` or `maxmemory-policy` is not `noeviction`. `refuse`: jobs are answered with `job_store_unavailable`. `warn`: jobs are accepted, and the log reports it.',
  }),
  redisAttachmentSize: setting({
    name: 'BERTH_REDIS_ATTACHMENT_SIZE',
    schema: size(0, 16 * 1024 ** 3),
    default: '256Mi',
    description:
      'The maximum size of the attachments of all jobs in Redis together, until the jobs have ended; a failed job keeps its attachments. Above it, a job with attachments is refused with `jobs_full`. Redis needs memory for them.',
  }),
  redisMirrorSize: setting({
    name: 'BERTH_REDIS_MIRROR_SIZE',
    schema: size(0, 64 * 1024 ** 3),
    default: '0',
    description:
      'The maximum size of the transcripts in Redis, from which another replica continues the sessions of a replica that is gone; the ones that were not used for the longest time are removed first. `0`: no transcript leaves its volume. Redis needs memory for them.',
  }),
  replica: setting({
    name: 'BERTH_REPLICA',
    schema: replicaName,
    optional: true,
    description:
      'The name by which Redis knows the replica that has a session. No two replicas may have the same name. The default is the host name of the first pod that used the volume, which the volume keeps in `.berth/replica`: delete this file in a copy of a volume.',
  }),
  replicaLost: setting({
    name: 'BERTH_REPLICA_LOST',
    schema: duration(10 * second, 7 * 24 * hour),
    default: '2m',
    description:
      'How long a replica may show no sign of life before jobs that continue its sessions run on another replica: in their session if its transcript was mirrored, else in a new one.',
  }),
  doctorProbe: setting({
    name: 'BERTH_DOCTOR_PROBE',
    schema: hostAndPort,
    default: 'example.com:443',
    description:
      'A host and port that the pod should not reach: `berth doctor` warns if it can, because then nothing limits its egress.',
  }),
  logLevel,
  logPretty,
  terminationLog,
};

/** The settings of `berth pause` and `berth resume`. */
export const commandDefinitions = {
  httpListen: supervisorDefinitions.httpListen,
  apiToken: setting({
    name: 'BERTH_API_TOKEN',
    schema: text,
    optional: true,
    secret: true,
    description:
      'The API token with which `berth pause`, `berth resume` and `berth jobs` call the server; without it they read the token from standard input. `berth serve` does not read it. Do not set it in the environment of the pod, where the tools of the CLI could find it.',
  }),
};

/** The settings of `berth write-back`. */
export const writeBackDefinitions = {
  secret: setting({
    name: 'BERTH_WRITE_BACK_SECRET',
    schema: secretName,
    description:
      'The live Secret, as `name` or `namespace/name`: it receives the newest login after each refresh. It belongs to berth, must not be the Secret in which a person provides a login, and must exist; manifests/components/write-back has an empty one.',
  }),
  listen: setting({
    name: 'BERTH_WRITE_BACK_LISTEN',
    schema: listen,
    default: ':9091',
    description: 'The address of /livez and /metrics of `berth write-back`, without a token.',
  }),
  configDirectory: supervisorDefinitions.configDirectory,
  stateDirectory,
  apiHost: setting({
    name: 'KUBERNETES_SERVICE_HOST',
    schema: text,
    internal: true,
    description:
      'the API server, which Kubernetes sets in every container; `berth write-back` runs in a pod only',
  }),
  apiPort: setting({
    name: 'KUBERNETES_SERVICE_PORT',
    schema: integer(1, 65_535),
    default: '443',
    internal: true,
    description: 'Its port.',
  }),
  accountDirectory: setting({
    name: 'BERTH_KUBERNETES_ACCOUNT_DIR',
    schema: path,
    default: '/var/run/secrets/kubernetes.io/serviceaccount',
    internal: true,
    description: 'Where the token of the service account, ca.crt and namespace are mounted.',
  }),
  logLevel,
  logPretty,
  terminationLog,
};

export interface WriteBackConfig
  extends Omit<Settings<typeof writeBackDefinitions>, 'stateDirectory'> {
  stateDirectory: string;
}

/** @throws BerthError `config_invalid` that lists every problem */
export function readWriteBackConfig(environment: Environment): {
  config: WriteBackConfig;
  warnings: string[];
} {
  const { settings, warnings } = readSettings(writeBackDefinitions, environment);
  return { config: { ...settings, stateDirectory: stateDirectoryOf(settings) }, warnings };
}

/** @throws BerthError `config_invalid` */
export function readCommandConfig(environment: Environment): Settings<typeof commandDefinitions> {
  return readSettings(commandDefinitions, environment).settings;
}

/** The settings of `berth login`. */
const loginDefinitions = {
  configDirectory: supervisorDefinitions.configDirectory,
  stateDirectory,
  credentialsSource,
  credentialsPolicy,
  claudePath: supervisorDefinitions.claudePath,
};

export interface LoginConfig extends Omit<Settings<typeof loginDefinitions>, 'stateDirectory'> {
  stateDirectory: string;
  inherited: Environment;
}

/** @throws BerthError `config_invalid` */
export function readLoginConfig(environment: Environment): LoginConfig {
  const { settings } = readSettings(loginDefinitions, environment);
  return { ...settings, stateDirectory: stateDirectoryOf(settings), inherited: environment };
}

export interface SupervisorConfig
  extends Omit<Settings<typeof supervisorDefinitions>, 'stateDirectory'> {
  stateDirectory: string;
  /** The environment from which the CLI's environment is selected (see claude/environment.ts). */
  inherited: Environment;
}

/**
 * @throws BerthError `config_invalid` that lists every problem
 */
export function readSupervisorConfig(environment: Environment): {
  config: SupervisorConfig;
  warnings: string[];
} {
  const { settings, warnings } = readSettings(supervisorDefinitions, environment, (read) => [
    ...withoutTokens(read.apiTokensFile, environment),
    ...withoutWebhookSecret(read),
    ...tooManyWarm(read.warmWorkers, read.maxWorkers),
    ...softAboveHard('BERTH_MEMORY', read.memorySoft, read.memoryHard),
    ...softAboveHard('BERTH_WORKER_MEMORY', read.workerMemorySoft, read.workerMemoryHard),
  ]);
  const config = {
    ...settings,
    stateDirectory: stateDirectoryOf(settings),
    inherited: environment,
  };
  return { config, warnings };
}

/**
 * Without a token no request is possible; under Kubernetes a token that is created at the start is
 * of no use.
 */
function withoutTokens(file: string | undefined, environment: Environment): string[] {
  if (file !== undefined || !environment.KUBERNETES_SERVICE_HOST) return [];
  // A value that could not be read has its own problem.
  if (environment.BERTH_API_TOKENS_FILE) return [];
  return [
    'BERTH_API_TOKENS_FILE is not set, and no request is possible without API tokens; create one with `berth token n8n`, put its line into a Secret, mount the Secret and set the path of the file',
  ];
}

function withoutWebhookSecret({
  callbackHosts,
  webhookSecretFile,
}: Partial<SupervisorConfig>): string[] {
  if (webhookSecretFile !== undefined || !callbackHosts || callbackHosts.isEmpty) return [];
  return [
    'BERTH_CALLBACK_HOSTS is set without BERTH_WEBHOOK_SECRET_FILE, and callbacks are always signed; make a secret with `berth token --webhook`, mount it and set the path of the file',
  ];
}

function tooManyWarm(warm: number | undefined, most: number | undefined): string[] {
  if (warm === undefined || most === undefined || warm <= most) return [];
  return [
    `BERTH_WARM_WORKERS: ${warm} is above BERTH_MAX_WORKERS (${most}); lower the first or raise the second`,
  ];
}

/** Compares two values of the same kind; this does not depend on the container's limit. */
function softAboveHard(name: string, soft: Amount | undefined, hard: Amount | undefined): string[] {
  if (soft === undefined || hard === undefined) return [];
  const above =
    ('share' in soft && 'share' in hard && soft.share > hard.share) ||
    ('bytes' in soft && 'bytes' in hard && soft.bytes > hard.bytes);
  return above ? [`${name}_SOFT is above ${name}_HARD; lower the first or raise the second`] : [];
}
