/**
 * The lifecycle: starts the parts in order and stops them in reverse order.
 * Invariants: nothing works on the volume before the lease is held or after it is lost. When `stop`
 * has returned, nothing of this program is left.
 */
import type { FastifyInstance } from 'fastify';
import { asBerthError, BerthError } from '../shared/errors.ts';
import { makeDirectories, unwritable } from '../shared/files.ts';
import { acquireLease, type Lease } from '../shared/lease.ts';
import type { Log } from '../shared/log.ts';
import { settingsBringLogin } from '../shared/login-variables.ts';
import { openStateDirectory } from '../shared/state-directory.ts';
import { pause } from '../shared/waiting.ts';
import { goodCommitsFile } from './boot/last-good-commit.ts';
import { replicaFile } from './boot/replica-name.ts';
import { attempt } from './boot/shutdown-step.ts';
import { shutdownMarkerFile } from './boot/unclean-shutdown.ts';
import { removeLeftQueries } from './claude/usage-query.ts';
import { type Cli, findCli, noteTested } from './cli/select.ts';
import { type CliTest, selfTest } from './cli/self-test.ts';
import { SelfTestGate } from './cli/self-test-gate.ts';
import { type LoginKind, loginKindsOf } from './cli/test-configuration.ts';
import type { SupervisorConfig } from './config.ts';
import { loginStateParts } from './credentials/login.ts';
import { GracefulClose } from './http/graceful-close.ts';
import { Idempotency } from './http/idempotency.ts';
import { type HttpLimits, limitsWithin } from './http/limits.ts';
import { listen, originOf } from './http/listen.ts';
import { McpEndpoint } from './http/mcp/endpoint.ts';
import { createProbesServer } from './http/probes.ts';
import { createApiServer } from './http/server.ts';
import type { Status } from './http/status.ts';
import type { Tokens } from './http/tokens.ts';
import { removeLeftLocks } from './memory/cli-traces.ts';
import { descriptorLimit } from './memory/descriptors.ts';
import { killLeftWorkers } from './memory/kill-marked.ts';
import type { Profiles } from './profiles/profiles.ts';
import { loadSessions } from './sessions/load-sessions.ts';
import { createParts, type Parts } from './wiring/compose.ts';
import { describeJobs } from './wiring/job-status.ts';
import { type JobParts, openJobs } from './wiring/jobs.ts';
import { accountsFile } from './wiring/known-accounts.ts';
import { describeProblems, describeStatus } from './wiring/status-report.ts';

export interface SupervisorOptions {
  config: SupervisorConfig;
  log: Log;
  /** The API tokens. */
  tokens: Tokens;
  profiles: Profiles;
  /** Called when the supervisor cannot continue: it must be stopped. */
  onFatal: (error: BerthError) => void;
  /** Rejects if this CLI version does not work at all. Jobs and prompts wait for it. */
  testCli?: typeof selfTest;
}

/** A limit of connections below this value is worth a warning. */
const few = 256;

export class Supervisor {
  readonly #config: SupervisorConfig;
  readonly #log: Log;
  readonly #options: SupervisorOptions;
  readonly #parts: Parts;
  readonly #started = performance.now();
  #state: Status['state'] = 'starting';
  #cli: Cli = { path: 'claude', version: '' };
  #lease: Lease | undefined;
  #api: FastifyInstance | undefined;
  readonly #gracefulClose = new GracefulClose();
  #probes: FastifyInstance | undefined;
  readonly #ending = new AbortController();
  #testing: Promise<void> = Promise.resolve();
  #tested: CliTest | undefined;
  readonly #testGate = new SelfTestGate();
  #loading: Promise<void> = Promise.resolve();
  #stopping: Promise<void> | undefined;
  #jobs: JobParts | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#log = options.log;
    this.#parts = createParts({
      ...options,
      ready: () => this.ready,
      cli: () => this.#cli,
      learnsLate: () => this.#tested?.learnsLate,
      cliPassed: (signal) => this.#testGate.passed(signal),
      jobStore: () => this.#jobs?.jobStore,
      mirror: () => this.#jobs?.mirror,
      limitHeard: (login, limit) => this.#jobs?.limitHeard(login, limit),
    });
  }

  /** Whether prompts are accepted and the CLI has passed its test. */
  get ready(): boolean {
    return this.#state === 'serving' && this.#tested !== undefined;
  }

  /**
   * Returns when prompts are accepted; `ready` is true when the CLI has passed its test too.
   * @param signal cancels the start; the rejection is the interrupted step's
   * @throws BerthError; then call `stop`
   */
  async start(signal: AbortSignal): Promise<void> {
    const config = this.#config;
    const { metrics, pool, retention } = this.#parts;
    this.#probes = createProbesServer({
      ready: () => this.ready,
      registry: metrics.registry,
      problems: () => ({
        ...describeProblems(this.#parts),
        jobs: this.#jobs?.jobStore.describe() ?? null,
      }),
    });
    await listen(this.#probes, config.metricsListen, 'BERTH_METRICS_LISTEN');
    await this.#prepare(signal);
    signal.throwIfAborted();
    // The lease is held, and the process that reported the CLI's version has ended.
    // A killed supervisor leaves its workers behind: they may still write in the sessions of jobs.
    await killLeftWorkers(config.configDirectory);
    await removeLeftLocks(config.configDirectory);
    const temporaryDirectory = config.inherited.TMPDIR ?? '/tmp';
    await removeLeftQueries({ ...config, temporaryDirectory });
    signal.throwIfAborted();
    this.#parts.configSync.open();
    pool.start();
    this.#parts.unprompted.start();
    this.#jobs?.start();
    if (this.#cli.passed || this.#cli.passedBefore) this.#useCli();
    this.#testing = this.#testCli();
    const address = await listen(
      this.#api as FastifyInstance,
      config.httpListen,
      'BERTH_HTTP_LISTEN',
    );
    this.#state = 'serving';
    // Sessions whose records are not loaded yet must not be removed.
    void this.#loading.then(() => this.#ending.signal.aborted || retention.start());
    this.#log.info('listening', `accepting prompts at ${address}`, {
      address,
      metrics_address: originOf(this.#probes),
      cli_version: this.#cli.version,
    });
  }

  /** The volume belongs to another pod: nothing here may write there any more, and no CLI may run. */
  #leaveVolume(): void {
    const { store, ledger, configuration, disk, retention, login, pool, poolMemory } = this.#parts;
    this.#testGate.close(stoppingReason());
    poolMemory.leaveVolume();
    store.abandon();
    ledger.abandon();
    // Each of them can be stopped again by `stop`, which waits for it.
    void attempt(() => pool.stop('lease_lost'), this.#log);
    for (const part of [configuration, disk, retention, login]) {
      void attempt(() => part.stop(), this.#log);
    }
  }

  /** Checks the version of the CLI, which takes the longest, while all other parts are prepared. */
  async #prepare(signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const both = AbortSignal.any([signal, over.signal]);
    const steps = [this.#checkCli(both), this.#open(both)].map((step) =>
      // The first failure is the cause, and the other step is useless then.
      step.catch((error: unknown) => over.abort(error)),
    );
    await Promise.all(steps);
    over.signal.throwIfAborted();
  }

  async #open(signal: AbortSignal): Promise<void> {
    const config = this.#config;
    const { login, pause, ledger, disk, poolMemory, configuration, lastGood, initReport } =
      this.#parts;
    await makeWritable(config.workspaceDirectory, 'BERTH_WORKSPACE_DIR');
    await openStateDirectory(config.stateDirectory, this.#log, {
      directories: [...loginStateParts.directories],
      files: [
        ...loginStateParts.files,
        goodCommitsFile,
        shutdownMarkerFile,
        replicaFile,
        accountsFile,
      ],
    });
    this.#lease = await acquireLease({
      directory: config.stateDirectory,
      program: 'serve',
      log: this.#log,
      signal,
      sharing: this.#parts.configSync.sharing,
    });
    this.#lease.lost.addEventListener('abort', () => {
      this.#leaveVolume();
      this.#options.onFatal(this.#lease?.lost.reason as BerthError);
    });
    await this.#parts.shutdownMarker.set();
    await configuration.start();
    await lastGood.load();
    await initReport.load();
    await login.start();
    await this.#parts.checkouts.open();
    const directories = await this.#parts.workspaces.names();
    const loading = { ...this.#parts, log: this.#log, signal: this.#ending.signal };
    this.#loading = loadSessions(loading, directories);
    await pause.load();
    await ledger.load();
    await disk.start();
    signal.throwIfAborted();
    poolMemory.start();
    const jobs = await openJobs(this.#parts, this.#options);
    this.#jobs = jobs;
    const shared = { ...this.#parts, ...jobs, stopping: this.#ending.signal, log: this.#log };
    this.#api = await createApiServer({
      ...shared,
      limits: this.#httpLimits(),
      sessions: this.#parts.prompts,
      mcp: new McpEndpoint({
        ...shared,
        profiles: this.#options.profiles,
        maxPromptBytes: config.maxPromptBytes,
        onCall: this.#parts.metrics.mcpCalled,
        origins: config.mcpOrigins ?? [],
        hosts: config.mcpHosts ?? [],
      }),
      draining: () => this.#state === 'draining',
      gracefulClose: this.#gracefulClose,
      profiles: this.#options.profiles,
      mayAdminister: (token) => this.#options.profiles.mayAdminister(token),
      idempotency: new Idempotency({ window: config.idempotencyWindow }),
      maxPromptBytes: config.maxPromptBytes,
      maxAttachmentBytes: config.attachmentMaxFiles > 0 ? config.attachmentMaxSize : 0,
      status: () => this.#status(),
    });
    await this.#api.ready();
  }

  #httpLimits(): HttpLimits {
    const descriptors = descriptorLimit();
    const limits = limitsWithin(descriptors, this.#config.maxWorkers);
    if (limits.connections < few) {
      const text = `at most ${limits.connections} connections are accepted, because only ${descriptors} files may be open (nofile): raise that limit of the container to 4096`;
      this.#log.warn('descriptors_few', text, { descriptors, connections: limits.connections });
    }
    return limits;
  }

  /** The addresses of prompts and metrics, for callers that let the system select the ports. */
  get addresses(): { http: string | undefined; metrics: string | undefined } {
    return { http: originOf(this.#api), metrics: originOf(this.#probes) };
  }

  /**
   * Drains, then ends everything. May be called twice: the second call waits for the first.
   * @param now skips the drain
   */
  stop(now?: AbortSignal): Promise<void> {
    this.#stopping ??= this.#stop(now);
    return this.#stopping;
  }

  async #stop(now: AbortSignal | undefined): Promise<void> {
    const reason = stoppingReason();
    const { live, pool, disk, retention, poolMemory, login, store, ledger, lastGood } = this.#parts;
    const served = this.#state === 'serving';
    this.#state = 'draining';
    this.#log.info('draining', `finishing ${live.size} prompts`, {
      prompts: live.size,
    });
    this.#ending.abort(reason);
    // The test ends too: prompts that wait for it can have no answer.
    this.#testGate.close(reason);
    this.#jobs?.drain();
    // Clients and proxies notice only after a while that the server is not ready any more.
    if (served) await pause(this.#config.drainDelay, now);
    pool.drain(reason);
    this.#parts.unprompted.drain(reason);
    live.interrupt(({ state }) => (state === 'limited' ? reason : undefined));
    await live.idle(this.#config.drain, now);
    live.interrupt(() => reason);
    await live.idle(10_000);
    // From here on each request is refused, so that no request needs a stopped part.
    const steps: (() => unknown)[] = [
      () => this.#gracefulClose.refuse(),
      () => this.#jobs?.stop(),
      () => this.#testing,
      () => this.#loading,
      () => this.#parts.checkouts.stop(),
      () => disk.stop(),
      () => retention.stop(),
      () => poolMemory.stop(),
      () => this.#parts.unprompted.stop(),
      () => this.#parts.usageWatch.stop(),
      () => pool.stop(),
      () => this.#parts.configSync.stop(),
      () => this.#parts.configuration.stop(),
      () => login.stop(),
      () => this.#parts.authentication.close(),
      () => store.stop(),
      () => ledger.flush(),
      () => lastGood.flush(),
      () => this.#lease?.lost.aborted === false && this.#parts.shutdownMarker.clear(),
      () => this.#lease?.release(),
      // As late as possible: while the server listens, each request gets an answer.
      () => this.#gracefulClose.close(),
      () => this.#api?.close(),
      () => this.#probes?.close(),
    ];
    for (const step of steps) await attempt(step, this.#log);
  }

  /** The CLI has passed its test: jobs and prompts may run. Later calls do nothing. */
  #useCli(): void {
    if (!this.#testGate.open()) return;
    this.#jobs?.run();
    this.#parts.usageWatch.start();
  }

  /** Never rejects: a CLI that does not work at all is fatal. */
  async #testCli(): Promise<void> {
    const { signal } = this.#ending;
    const { testCli = selfTest, log, config } = this.#options;
    const firstWorker = this.#parts.firstWorker();
    const onPassed = (): void => this.#useCli();
    try {
      const logins = await this.#logins();
      const about = { config, ...this.#cli, logins, log, signal };
      this.#tested = await testCli({ ...about, firstWorker, onPassed });
      onPassed();
      // Shared spares may be wanted now.
      this.#parts.pool.reconsider();
      const { id } = this.#cli;
      if (id !== undefined) await noteTested(config.stateDirectory, id, log);
    } catch (error) {
      if (signal.aborted) return;
      const fatal = asBerthError(error);
      this.#testGate.close(fatal);
      this.#options.onFatal(fatal);
    }
  }

  async #checkCli(signal: AbortSignal): Promise<void> {
    const logins = await this.#logins();
    this.#cli = await findCli({ config: this.#config, log: this.#log, logins, signal });
  }

  /** The kinds of login that the processes use. */
  async #logins(): Promise<LoginKind[]> {
    const { config, profiles } = this.#options;
    const environments = profiles.all().map(({ environment }) => environment);
    const bySettings = await settingsBringLogin(config.configDirectory);
    return loginKindsOf(config.inherited, environments, bySettings);
  }

  async #status(): Promise<Status> {
    return describeStatus({
      ...this.#parts,
      state: this.#state,
      started: this.#started,
      cliVersion: this.#cli.version,
      learnsLate: this.#tested?.learnsLate,
      config: this.#config,
      profiles: this.#options.profiles,
      jobs: await describeJobs(this.#jobs?.jobStore),
    });
  }
}

async function makeWritable(directory: string, settingName: string): Promise<void> {
  try {
    await makeDirectories(directory);
  } catch (error) {
    throw unwritable(`${directory} (${settingName})`, error);
  }
}

/** The error of prompts that cannot be finished. */
function stoppingReason(): BerthError {
  return new BerthError(
    'draining',
    'cannot finish the prompt: the server is stopping; try again in a moment',
    { details: { retry_after: 5 } },
  );
}
