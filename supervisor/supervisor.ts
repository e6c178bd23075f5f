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
import { closeServer, listen, originOf } from './http/listen.ts';
import { createProbesServer } from './http/probes.ts';
import { createApiServer } from './http/server.ts';
import type { Status } from './http/status.ts';
import { MemoryGuard } from './memory/guard.ts';
import { killMarked } from './memory/leftovers.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { Pool } from './pool/pool.ts';
import { prepareWorker } from './pool/prepare.ts';
import { SessionCatalog } from './sessions/catalog.ts';
import { DiskWatch } from './sessions/disk.ts';
import { cleanupPeriodDays, Retention } from './sessions/retention.ts';
import { SessionStore } from './sessions/session-store.ts';
import { Sessions } from './sessions/sessions.ts';
import { Transcripts } from './sessions/transcripts.ts';
import { type WorkingDirectory, Workspaces } from './sessions/workspaces.ts';
import { describeStatus } from './status.ts';

export interface SupervisorOptions {
  config: SupervisorConfig;
  log: Log;
  /** Who bears a token. */
  nameOfToken: (token: string) => string | undefined;
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
  readonly #workspaces: Workspaces;
  readonly #sessions: Sessions;
  readonly #catalog: SessionCatalog;
  readonly #disk: DiskWatch;
  readonly #retention: Retention;
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
      warmWorkers: config.warmWorkers,
      maxWorkers: config.maxWorkers,
      queueLimit: config.queueLimit,
      idleTimeout: config.workerIdleTimeout,
      launch: (name, sessionId) => this.#launch(name, sessionId),
      prepare: prepareWorker,
      clearAway: async (name) => {
        await killMarked(marksOf(config.configDirectory, name));
        await this.#workspaces.ended(name);
      },
      onRecycle: (reason) => this.#metrics.recycled(reason),
      log,
    });
    this.#workspaces = new Workspaces(config.workspaceDirectory);
    this.#store = new SessionStore({
      stateDirectory: config.stateDirectory,
      sharedDirectory: config.workspaceDirectory,
      log,
    });
    this.#disk = new DiskWatch({
      paths: [...new Set([config.configDirectory, config.workspaceDirectory])],
      low: config.diskLow,
      full: config.diskFull,
      log,
    });
    this.#sessions = new Sessions({
      pool: this.#pool,
      store: this.#store,
      directoryOf: ({ name }) => this.#workspaces.bind(name),
      assertRoom: () => this.#disk.assertRoom(),
      cliVersion: () => this.#cliVersion,
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
    });
    const { configDirectory } = config;
    const temporaryDirectory = config.inherited.TMPDIR ?? '/tmp';
    const transcripts = new Transcripts({ configDirectory, temporaryDirectory });
    const parts = { store: this.#store, transcripts, workspaces: this.#workspaces, log };
    this.#catalog = new SessionCatalog({ ...parts, running: this.#sessions });
    this.#retention = new Retention({
      ...parts,
      retention: config.sessionRetention,
      budget: config.diskBudget,
      catalog: this.#catalog,
      configDirectory,
      temporaryDirectory,
      onRemoved: (reason) => this.#metrics.sessionRemoved(reason),
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
      credentialsExpiry: () => this.#credentialsExpiry(),
      disks: () => this.#disk.readings,
      sessions: () => this.#store.size,
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
    await this.#loadSessions(signal);
    await this.#disk.start();
    signal.throwIfAborted();
    this.#pool.start();
    await this.#guard.start();
    this.#api = await createApiServer({
      sessions: this.#sessions,
      catalog: this.#catalog,
      promptTimeout: config.promptTimeout,
      nameOfToken: this.#options.nameOfToken,
      status: () => this.#status(),
      log: this.#log,
    });
    signal.throwIfAborted();
    const address = await listen(this.#api, config.httpListen, 'BERTH_HTTP_LISTEN');
    this.#state = 'serving';
    this.#retention.start();
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
    this.#disk.stop();
    await this.#attempt(() => this.#retention.stop());
    await this.#attempt(() => this.#guard.stop());
    await this.#attempt(() => this.#pool.stop());
    await this.#attempt(() => this.#credentials.stop());
    await this.#attempt(() => this.#store.stop());
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

  get #claudePath(): string {
    return this.#config.claudePath ?? 'claude';
  }

  #environmentOf(worker: string): Record<string, string> {
    return cliEnvironment(this.#config.inherited, this.#config.configDirectory, worker);
  }

  async #loadSessions(signal: AbortSignal): Promise<void> {
    const unreadable = await this.#store.open(signal);
    const known: WorkingDirectory[] = [];
    for await (const { working_directory } of this.#store.all()) known.push(working_directory);
    // What cannot be read may name a directory: then none counts as nobody's.
    const orphans = unreadable > 0 ? 0 : await this.#sweep(known);
    const level = unreadable > 0 ? 'warn' : 'info';
    this.#log[level]('sessions_loaded', `found ${this.#store.size} sessions`, {
      sessions: this.#store.size,
      unreadable,
      directories_removed: orphans,
    });
  }

  async #sweep(known: readonly WorkingDirectory[]): Promise<number> {
    try {
      return await this.#workspaces.sweep(known);
    } catch (error) {
      this.#log.warn('retention_failed', "cannot remove a directory that is no session's", {
        error,
      });
      return 0;
    }
  }

  #launch(name: string, sessionId: string | undefined): ClaudeProcess {
    const { workingDirectory, sessionRetention } = this.#config;
    const record = sessionId === undefined ? undefined : this.#store.peek(sessionId);
    const directory = this.#workspaces.make(name, workingDirectory, record?.working_directory);
    return new ClaudeProcess({
      path: this.#claudePath,
      arguments: cliArguments(sessionId, {
        cleanupPeriodDays: cleanupPeriodDays(sessionRetention),
      }),
      environment: this.#environmentOf(name),
      workingDirectory: directory.path,
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
    const states = { starting: 0, warm: 0, busy: 0, idle: 0, recycling: 0 };
    for (const { state } of this.#pool.workers) states[state] += 1;
    return states;
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
      disk: this.#disk,
      sessions: this.#store.size,
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
