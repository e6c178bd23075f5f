/**
 * The composition root: puts the parts together, starts them in order and stops them in the reverse
 * one. Always holds: nothing works on the volume before the lease is held or after it is lost, and
 * when `stop` has returned nothing of this program is left.
 */
import { mkdir } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { BerthError } from '../shared/errors.ts';
import { unwritable } from '../shared/files.ts';
import { acquireLease, type Lease } from '../shared/lease.ts';
import type { Log } from '../shared/log.ts';
import { openStateDirectory } from '../shared/state-directory.ts';
import { checkVersion, cliArguments } from './claude/command.ts';
import { cliEnvironment, marksOf } from './claude/environment.ts';
import { ClaudeProcess } from './claude/process.ts';
import type { SupervisorConfig } from './config.ts';
import { CredentialsWatch } from './credentials/watch.ts';
import { Authentication } from './http/authentication.ts';
import { Idempotency } from './http/idempotency.ts';
import { closeServer, listen, originOf } from './http/listen.ts';
import { createProbesServer } from './http/probes.ts';
import { createApiServer } from './http/server.ts';
import type { Status } from './http/status.ts';
import type { Tokens } from './http/tokens.ts';
import { MemoryGuard } from './memory/guard.ts';
import { killMarked } from './memory/leftovers.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import type { Order } from './pool/order.ts';
import { Pool } from './pool/pool.ts';
import { clearContext, prepareWorker } from './pool/prepare.ts';
import { workerStates } from './pool/worker.ts';
import { Admission } from './sessions/admission.ts';
import { Pause } from './sessions/pause.ts';
import { SessionStore } from './sessions/session-store.ts';
import { Sessions } from './sessions/sessions.ts';
import { type BudgetLimits, SpendingLedger } from './sessions/spending.ts';
import { spentBySessions } from './sessions/spent-by-sessions.ts';
import { describeStatus } from './status.ts';

export interface SupervisorOptions {
  config: SupervisorConfig;
  log: Log;
  /** Who may call. */
  tokens: Tokens;
  /** Whether a token of that name may pause and resume; all may if absent. */
  mayAdminister?: (tokenName: string) => boolean;
  /** Told when the supervisor cannot go on by itself: it must be stopped. */
  onFatal: (error: BerthError) => void;
}

/** Milliseconds for each step of stopping; ending a stubborn CLI takes some seconds. */
const stepDeadline = 15_000;

export class Supervisor {
  readonly #config: SupervisorConfig;
  readonly #log: Log;
  readonly #options: SupervisorOptions;
  readonly #pool: Pool;
  readonly #store: SessionStore;
  readonly #sessions: Sessions;
  readonly #pause: Pause;
  readonly #ledger: SpendingLedger;
  readonly #admission: Admission;
  readonly #authentication: Authentication;
  readonly #guard: MemoryGuard;
  readonly #credentials: CredentialsWatch;
  readonly #metrics: Metrics;
  readonly #started = performance.now();
  #state: Status['state'] = 'starting';
  #cliVersion = '';
  #lease: Lease | undefined;
  #api: FastifyInstance | undefined;
  #probes: FastifyInstance | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    const { config, log } = options;
    this.#options = options;
    this.#config = config;
    this.#log = log;
    this.#pool = new Pool({
      warm: () => [{ order: this.#orderOf(undefined), count: config.warmWorkers }],
      maxWorkers: config.maxWorkers,
      queueLimit: config.queueLimit,
      idleTimeout: config.workerIdleTimeout,
      prepare: prepareWorker,
      clear: clearContext,
      clearAway: (name) => killMarked(marksOf(config.configDirectory, name)),
      onRecycle: (reason) => this.#metrics.recycled(reason),
      log,
    });
    this.#store = new SessionStore(config.stateDirectory);
    this.#sessions = new Sessions({
      pool: this.#pool,
      orderOf: (sessionId) => this.#orderOf(sessionId),
      store: this.#store,
      log,
      onTurn: (outcome, milliseconds, answer) => {
        this.#metrics.prompt(outcome, milliseconds / 1_000);
        if (!answer) return;
        this.#metrics.answer({
          costUsd: answer.cost_usd,
          inputTokens: answer.usage.input_tokens,
          outputTokens: answer.usage.output_tokens,
        });
      },
      onSpent: (prompt, usd) => this.#admission.spent(prompt, usd),
    });
    this.#pause = new Pause(config.stateDirectory, log);
    this.#ledger = new SpendingLedger({
      stateDirectory: config.stateDirectory,
      log,
      recover: (day) => spentBySessions(config.stateDirectory, this.#store, day),
    });
    this.#admission = new Admission({
      sessions: this.#sessions,
      pause: this.#pause,
      ledger: this.#ledger,
      budgetsOf: () => ({ profile: 'default', limits: this.#limits }),
      knowsToken: (id) => options.tokens.knows(id),
    });
    options.tokens.onRevoked(() => this.#admission.review());
    this.#authentication = new Authentication({
      tokens: options.tokens,
      log,
      onFailure: (reason) => this.#metrics.authFailure(reason),
    });
    this.#guard = new MemoryGuard({
      containerSoft: config.memorySoft,
      workerSoft: config.workerMemorySoft,
      workers: () => this.#guardedWorkers(),
      recycle: (name) => this.#recycleForMemory(name),
      log,
    });
    this.#credentials = new CredentialsWatch({
      configDirectory: config.configDirectory,
      stateDirectory: config.stateDirectory,
      log,
    });
    this.#metrics = createMetrics({
      workers: () => this.#workersByState(),
      queued: () => this.#pool.queued,
      memory: () => this.#memory(),
      spending: () => ({
        spent: this.#ledger.spent.total_usd,
        limit: this.#limits.deployment,
      }),
      paused: () => this.#pause.state !== undefined,
      credentialsExpiry: () => this.#credentialsExpiry(),
    });
  }

  /**
   * Returns when prompts are taken.
   * @param signal gives up; the rejection is whatever it interrupted
   * @throws BerthError; then call `stop`
   */
  async start(signal: AbortSignal): Promise<void> {
    const config = this.#config;
    this.#probes = createProbesServer({
      ready: () => this.#state === 'serving',
      registry: this.#metrics.registry,
    });
    await listen(this.#probes, config.metricsListen, 'BERTH_METRICS_LISTEN');
    this.#cliVersion = await checkVersion(this.#claudePath, this.#environmentOf('version'), signal);
    await makeWritable(config.workspaceDirectory, 'BERTH_WORKSPACE_DIR');
    await openStateDirectory(config.stateDirectory, this.#log);
    this.#lease = await acquireLease({
      directory: config.stateDirectory,
      program: 'serve',
      log: this.#log,
      signal,
    });
    this.#lease.lost.addEventListener('abort', () => {
      this.#options.onFatal(this.#lease?.lost.reason as BerthError);
    });
    await this.#credentials.start();
    await this.#pause.load();
    await this.#ledger.load();
    signal.throwIfAborted();
    this.#pool.start();
    await this.#guard.start();
    this.#api = await createApiServer({
      sessions: this.#admission,
      admission: this.#admission,
      pause: this.#pause,
      mayAdminister: this.#options.mayAdminister ?? (() => true),
      authentication: this.#authentication,
      idempotency: new Idempotency({ window: config.idempotencyWindow }),
      maxPromptBytes: config.maxPromptBytes,
      promptTimeout: config.promptTimeout,
      status: () => this.#status(),
      log: this.#log,
    });
    signal.throwIfAborted();
    const address = await listen(this.#api, config.httpListen, 'BERTH_HTTP_LISTEN');
    this.#state = 'serving';
    this.#log.info('listening', `taking prompts at ${address}`, {
      address,
      metrics_address: originOf(this.#probes),
      cli_version: this.#cliVersion,
    });
  }

  /** Where prompts are taken and where metrics are served, for callers that let the system choose. */
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
    const reason = new BerthError(
      'draining',
      'cannot finish the prompt: the server is stopping; try again in a moment',
    );
    this.#state = 'draining';
    this.#log.info('draining', `finishing ${this.#sessions.running} prompts`, {
      prompts: this.#sessions.running,
    });
    this.#pool.drain(reason);
    await this.#sessions.idle(this.#config.drain, now);
    this.#sessions.interruptAll(reason);
    // Every stream has had its last event before the server closes.
    await this.#sessions.idle(10_000);
    await this.#attempt(async () => this.#api && closeServer(this.#api));
    await this.#attempt(() => this.#guard.stop());
    await this.#attempt(() => this.#pool.stop());
    await this.#attempt(() => this.#credentials.stop());
    this.#authentication.close();
    await this.#attempt(() => this.#store.flush());
    await this.#attempt(() => this.#ledger.flush());
    await this.#attempt(async () => this.#lease?.release());
    await this.#attempt(async () => this.#probes?.close());
  }

  /** One step of stopping: neither its failure nor its slowness keeps the next from its turn. */
  async #attempt(step: () => Promise<unknown>): Promise<void> {
    const over = new AbortController();
    const late = delay(stepDeadline, undefined, { signal: over.signal }).then(
      () => {
        throw new Error(`it takes longer than ${stepDeadline / 1_000} s`);
      },
      () => undefined,
    );
    try {
      await Promise.race([step(), late]);
    } catch (error) {
      this.#log.error('failed', 'cannot finish a step of stopping', { error });
    } finally {
      over.abort();
    }
  }

  /** Those of tokens and profiles come with the profiles file. */
  get #limits(): BudgetLimits {
    return { deployment: this.#config.dailyBudget };
  }

  get #claudePath(): string {
    return this.#config.claudePath ?? 'claude';
  }

  #environmentOf(worker: string): Record<string, string> {
    return cliEnvironment(this.#config.inherited, this.#config.configDirectory, worker);
  }

  #orderOf(sessionId: string | undefined): Order {
    return {
      profile: 'default',
      key: 'default',
      sessionId,
      resumes: sessionId !== undefined,
      reuse: false,
      once: false,
      launch: (name) => this.#launch(name, sessionId),
    };
  }

  #launch(name: string, sessionId: string | undefined): ClaudeProcess {
    return new ClaudeProcess({
      path: this.#claudePath,
      arguments: cliArguments({ resume: sessionId }),
      environment: this.#environmentOf(name),
      workingDirectory: this.#config.workspaceDirectory,
      onStray: (what) =>
        this.#log.warn('worker_stray_output', `${name} wrote ${what}`, { worker: name }),
    });
  }

  #guardedWorkers() {
    return this.#pool.workers.flatMap(({ name, state, process: { pid } }) =>
      pid === undefined || state === 'recycling'
        ? []
        : [{ name, pid, idle: state === 'idle', served: state === 'idle' || state === 'busy' }],
    );
  }

  #recycleForMemory(name: string): void {
    const worker = this.#pool.workers.find((candidate) => candidate.name === name);
    if (worker) void this.#pool.recycle(worker, 'memory');
  }

  #workersByState(): Record<string, number> {
    return Object.fromEntries(workerStates.map((state) => [state, this.#pool.count(state)]));
  }

  #memory() {
    const { container, workers } = this.#guard.readings;
    const total = [...workers.values()].reduce((sum, bytes) => sum + bytes, 0);
    return { limit: container?.limit, workingSet: container?.workingSet, workers: total };
  }

  #credentialsExpiry(): number | undefined {
    const { state } = this.#credentials;
    return state.kind === 'valid' ? state.credentials.expiresAt / 1_000 : undefined;
  }

  #status(): Status {
    return describeStatus({
      state: this.#state,
      started: this.#started,
      cliVersion: this.#cliVersion,
      config: this.#config,
      pool: this.#pool,
      memory: this.#guard.readings,
      credentials: this.#credentials.state,
      pause: this.#pause,
      ledger: this.#ledger,
      limitsOf: () => this.#limits,
      tokens: this.#authentication.uses(),
    });
  }
}

async function makeWritable(directory: string, settingName: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true });
  } catch (error) {
    throw unwritable(`${directory} (${settingName})`, error);
  }
}
