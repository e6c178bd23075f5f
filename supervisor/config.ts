/**
 * The supervisor's settings: their definitions (docs/configuration.md is generated from them) and
 * the one place in this program that reads the environment.
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
  integer,
  listen,
  path,
  secretName,
  size,
  sizes,
  text,
} from '../shared/setting-types.ts';

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
      'The Claude Code CLI; the default is `claude` on the PATH, or else what init has put on the volume (`BERTH_CLAUDE_TARBALL`).',
  }),
  httpListen: setting({
    name: 'BERTH_HTTP_LISTEN',
    schema: listen,
    default: ':8080',
    description: 'Where prompts are taken. Every request needs a token.',
  }),
  metricsListen: setting({
    name: 'BERTH_METRICS_LISTEN',
    schema: listen,
    default: ':9090',
    description: 'Where /livez, /readyz and /metrics are served, without a token.',
  }),
  apiTokensFile: setting({
    name: 'BERTH_API_TOKENS_FILE',
    schema: path,
    optional: true,
    description:
      'API tokens, one a line as `name:sha256:<hex>` (`berth token NAME` makes one), or a directory of such files as a Secret mounts it. Read again when it changes. Required under Kubernetes; elsewhere, without it, a token is made at each start and printed once.',
  }),
  profilesFile: setting({
    name: 'BERTH_PROFILES_FILE',
    schema: path,
    optional: true,
    description:
      'Profiles (docs/profiles.md): what prompts may do and cost, as YAML. Read again when it changes. Without it there is one profile, `default`, that adds nothing to what settings.json allows.',
  }),
  warmWorkers: setting({
    name: 'BERTH_WARM_WORKERS',
    schema: integer(0, 64),
    default: '1',
    description:
      'CLI processes kept ready for prompts that start a new session with the built-in profile; other profiles have `warm`.',
  }),
  maxWorkers: setting({
    name: 'BERTH_MAX_WORKERS',
    schema: integer(1, 64),
    default: '4',
    description: 'CLI processes at most, warm, busy and idle together.',
  }),
  queueLimit: setting({
    name: 'BERTH_QUEUE_LIMIT',
    schema: integer(0, 10_000),
    default: '100',
    description: 'Prompts that may wait for a worker; one more is answered 429.',
  }),
  promptTimeout: setting({
    name: 'BERTH_PROMPT_TIMEOUT',
    schema: duration(second, 24 * hour),
    default: '280s',
    description:
      'The longest that a prompt may take from acceptance, waiting included; the default stays under the 300 s after which n8n gives up.',
  }),
  maxPromptBytes: setting({
    name: 'BERTH_MAX_PROMPT_BYTES',
    schema: size(1024, 16 * 1024 ** 2),
    default: '1Mi',
    description:
      'The largest body of a prompt, as JSON; a larger one is answered 413. Large input belongs into files of the workspace.',
  }),
  idempotencyWindow: setting({
    name: 'BERTH_IDEMPOTENCY_WINDOW',
    schema: duration(0, 7 * 24 * hour),
    default: '24h',
    description:
      'How long the answer of a prompt with an Idempotency-Key is given again instead of running the prompt again. Kept in memory: a restart forgets it.',
  }),
  dailyBudget: setting({
    name: 'BERTH_DAILY_BUDGET_USD',
    schema: dollars,
    optional: true,
    description:
      'US dollars, at list prices, that all prompts of a day (in UTC) may cost together; after that they are answered `daily_budget_exceeded` until the next day. Without it there is no limit.',
  }),
  workerIdleTimeout: setting({
    name: 'BERTH_WORKER_IDLE_TIMEOUT',
    schema: duration(second, 24 * hour),
    default: '15m',
    description:
      'How long a process stays for its session without a prompt. The session can be continued afterwards too.',
  }),
  drain: setting({
    name: 'BERTH_DRAIN',
    schema: duration(0, hour),
    default: '60s',
    description:
      'How long running turns may go on after SIGTERM and BERTH_DRAIN_DELAY; then they are ended with the retryable error `draining`. Keep terminationGracePeriodSeconds 30 s above the two together.',
  }),
  drainDelay: setting({
    name: 'BERTH_DRAIN_DELAY',
    schema: duration(0, 10 * 60 * second),
    default: '3s',
    description:
      'How long prompts are still taken after SIGTERM, while /readyz says no already: a Service or proxy takes that long to learn it. Then BERTH_DRAIN begins.',
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
      "The container's working set above which the largest worker is ended at once, in the middle of its turn too, as a share of its memory limit or a size.",
  }),
  workerMemorySoft: setting({
    name: 'BERTH_WORKER_MEMORY_SOFT',
    schema: amount,
    default: '1Gi',
    description:
      "The memory of one worker's process tree above which it is recycled when its turn is over, as a share of the container's limit or a size.",
  }),
  workerMemoryHard: setting({
    name: 'BERTH_WORKER_MEMORY_HARD',
    schema: amount,
    default: '1536Mi',
    description:
      "The memory of one worker's process tree above which it is ended at once, in the middle of its turn too, as a share of the container's limit or a size.",
  }),
  hangTimeout: setting({
    name: 'BERTH_HANG_TIMEOUT',
    schema: duration(second, 24 * hour),
    default: '3m',
    description:
      'A turn whose process writes nothing and uses no CPU for so long, while no tool runs, is ended and carried on in another process. While a tool runs it is 11 minutes, a little more than the CLI gives a command. Longer time-outs of the CLI (`BASH_MAX_TIMEOUT_MS`, `MCP_TOOL_TIMEOUT`, `API_TIMEOUT_MS` ...) lengthen both.',
  }),
  settingsCheck: setting({
    name: 'BERTH_SETTINGS_CHECK',
    schema: choice('refuse', 'warn'),
    default: 'refuse',
    description:
      'What happens when the CLI ignores settings.json, or a denial or a hook in it. `refuse`: prompts are answered `configuration_invalid` until it is mended. `warn`: they run without it; the log, /v1/status and a metric say so.',
  }),
  workingDirectory: setting({
    name: 'BERTH_WORKING_DIRECTORY',
    schema: choice('shared', 'session'),
    default: 'shared',
    description:
      'Where sessions work. `shared`: all in BERTH_WORKSPACE_DIR itself. `session`: each in a directory of its own below `sessions/` there, which goes when the session goes.',
  }),
  sessionRetention: setting({
    name: 'BERTH_SESSION_RETENTION',
    schema: durationOrNever(hour, 3650 * day),
    default: '30d',
    description:
      'How long a session that nobody uses is kept, with its transcript and its own directory; `0` keeps them for ever. Sets the clean-up of the CLI too.',
  }),
  diskBudget: setting({
    name: 'BERTH_DISK_BUDGET',
    schema: size(1024 ** 2, 1024 ** 5),
    optional: true,
    description:
      'What transcripts and own directories of sessions may take; above it those sessions go that were not used for longest. Looked at once an hour. Without it sessions go by their age alone (BERTH_SESSION_RETENTION), and a volume that is nearly full takes no new ones (BERTH_DISK_FULL).',
  }),
  diskLow: setting({
    name: 'BERTH_DISK_LOW',
    schema: amount,
    default: '10%',
    description:
      'The free room on the volume, the workspace or in a directory of `BERTH_DISK_LIMITS` below which there is a warning, as a share or a size.',
  }),
  diskFull: setting({
    name: 'BERTH_DISK_FULL',
    schema: amount,
    default: '64Mi',
    description:
      'The free room below which no session begins (507 `disk_full`); those that exist go on. A size counts for a tenth of a file system at most.',
  }),
  diskReserve: setting({
    name: 'BERTH_DISK_RESERVE',
    schema: size(0, 1024 ** 3),
    default: '4Mi',
    description:
      'Room that berth keeps for itself on the volume and gives up when that is full, so that sessions can be removed, a pause recorded and a login stored; at most a tenth of the volume. `0` keeps none.',
  }),
  diskLimits: setting({
    name: 'BERTH_DISK_LIMITS',
    schema: sizes,
    optional: true,
    description:
      'Directories that have less room than their file system, each with its size: what an emptyDir has as `sizeLimit`, such as `/tmp=4Gi,/workspace=10Gi`. A pod that goes over one is evicted at once, so their room counts for `BERTH_DISK_LOW` and `BERTH_DISK_FULL` too.',
  }),
  doctorProbe: setting({
    name: 'BERTH_DOCTOR_PROBE',
    schema: hostAndPort,
    default: 'example.com:443',
    description:
      'A host and port that the pod should not reach: `berth doctor` warns if it can, for then nothing bounds its egress.',
  }),
  logLevel,
  logPretty,
  terminationLog,
};

/** What `berth pause` and `berth resume` read. */
export const commandDefinitions = {
  httpListen: supervisorDefinitions.httpListen,
  apiToken: setting({
    name: 'BERTH_API_TOKEN',
    schema: text,
    optional: true,
    secret: true,
    description:
      'The API token with which `berth pause` and `berth resume` call the server; without it they ask for it on standard input. `berth serve` does not read it, and it does not belong into the environment of the pod, where the tools of the CLI could find it.',
  }),
};

/** What `berth write-back` reads. */
export const writeBackDefinitions = {
  secret: setting({
    name: 'BERTH_WRITE_BACK_SECRET',
    schema: secretName,
    description:
      "The live Secret, as `name` or `namespace/name`: there the newest login goes after each refresh. It is berth's own, never the one in which a person provides a login, and must exist; manifests/components/write-back brings an empty one.",
  }),
  listen: setting({
    name: 'BERTH_WRITE_BACK_LISTEN',
    schema: listen,
    default: ':9091',
    description: 'Where /livez and /metrics of `berth write-back` are served, without a token.',
  }),
  configDirectory: supervisorDefinitions.configDirectory,
  stateDirectory,
  apiHost: setting({
    name: 'KUBERNETES_SERVICE_HOST',
    schema: text,
    internal: true,
    description:
      'the API server, which Kubernetes tells every container; `berth write-back` runs in a pod only',
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

/** What `berth login` reads. */
export const loginDefinitions = {
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
  /** The environment from which the CLI's is picked (see claude/environment.ts). */
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

/** Nobody may call without a token; under Kubernetes one that is made at the start helps nobody. */
function withoutTokens(file: string | undefined, environment: Environment): string[] {
  if (file !== undefined || !environment.KUBERNETES_SERVICE_HOST) return [];
  // A value that could not be read has its own problem.
  if (environment.BERTH_API_TOKENS_FILE) return [];
  return [
    'BERTH_API_TOKENS_FILE is not set, and without API tokens nobody can call; make one with `berth token n8n`, put its line into a Secret, mount that and name the file',
  ];
}

function tooManyWarm(warm: number | undefined, most: number | undefined): string[] {
  if (warm === undefined || most === undefined || warm <= most) return [];
  return [
    `BERTH_WARM_WORKERS: ${warm} is above BERTH_MAX_WORKERS (${most}); lower the one or raise the other`,
  ];
}

/** Two of one kind can be compared whatever the container's limit is. */
function softAboveHard(name: string, soft: Amount | undefined, hard: Amount | undefined): string[] {
  if (soft === undefined || hard === undefined) return [];
  const above =
    ('share' in soft && 'share' in hard && soft.share > hard.share) ||
    ('bytes' in soft && 'bytes' in hard && soft.bytes > hard.bytes);
  return above ? [`${name}_SOFT is above ${name}_HARD; lower the one or raise the other`] : [];
}
