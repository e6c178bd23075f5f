/**
 * The lifecycle: starts the parts in order and stops them in the reverse one.
 * Always holds: nothing works on the volume before the lease is held or after it is lost, and when
 * `stop` has returned nothing of this program is left.
 */
import { mkdir } from 'node:fs/promises';
import type { FastifyInstance } from 'fastify';
import { BerthError } from '../shared/errors.ts';
import { unwritable } from '../shared/files.ts';
import { acquireLease, type Lease } from '../shared/lease.ts';
import type { Log } from '../shared/log.ts';
import { openStateDirectory } from '../shared/state-directory.ts';
import { checkVersion } from './claude/command.ts';
import { cliEnvironment } from './claude/environment.ts';
import type { SupervisorConfig } from './config.ts';
import { loginStateParts } from './credentials/login.ts';
import { Idempotency } from './http/idempotency.ts';
import { closeServer, listen, originOf } from './http/listen.ts';
import { createProbesServer } from './http/probes.ts';
import { createApiServer } from './http/server.ts';
import type { Status } from './http/status.ts';
import type { Tokens } from './http/tokens.ts';
import { createParts, type Parts } from './parts.ts';
import type { Profiles } from './profiles/profiles.ts';
import type { WorkingDirectory } from './sessions/workspaces.ts';
import { describeStatus } from './status.ts';
import { attempt } from './stopping.ts';

export interface SupervisorOptions {
  config: SupervisorConfig;
  log: Log;
  /** Who may call. */
  tokens: Tokens;
  profiles: Profiles;
  /** Told when the supervisor cannot go on by itself: it must be stopped. */
  onFatal: (error: BerthError) => void;
}

export class Supervisor {
  readonly #config: SupervisorConfig;
  readonly #log: Log;
  readonly #options: SupervisorOptions;
  readonly #parts: Parts;
  readonly #started = performance.now();
  #state: Status['state'] = 'starting';
  #cliVersion = '';
  #lease: Lease | undefined;
  #api: FastifyInstance | undefined;
  #probes: FastifyInstance | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#log = options.log;
    this.#parts = createParts({ ...options, cliVersion: () => this.#cliVersion });
  }

  /**
   * Returns when prompts are taken.
   * @param signal gives up; the rejection is whatever it interrupted
   * @throws BerthError; then call `stop`
   */
  async start(signal: AbortSignal): Promise<void> {
    const config = this.#config;
    const { metrics, pool, retention } = this.#parts;
    this.#probes = createProbesServer({
      ready: () => this.#state === 'serving',
      registry: metrics.registry,
    });
    await listen(this.#probes, config.metricsListen, 'BERTH_METRICS_LISTEN');
    await this.#prepare(signal);
    signal.throwIfAborted();
    pool.start();
    const address = await listen(
      this.#api as FastifyInstance,
      config.httpListen,
      'BERTH_HTTP_LISTEN',
    );
    this.#state = 'serving';
    retention.start();
    this.#log.info('listening', `taking prompts at ${address}`, {
      address,
      metrics_address: originOf(this.#probes),
      cli_version: this.#cliVersion,
    });
  }

  /** Asks the CLI for its version, which takes the longest, while all else is made ready. */
  async #prepare(signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    const both = AbortSignal.any([signal, over.signal]);
    const steps = [this.#checkCli(both), this.#open(both)].map((step) =>
      // The first failure is the cause, and the other step is for nothing then.
      step.catch((error: unknown) => over.abort(error)),
    );
    await Promise.all(steps);
    over.signal.throwIfAborted();
  }

  async #open(signal: AbortSignal): Promise<void> {
    const config = this.#config;
    const { credentials, pause, ledger, disk, guard } = this.#parts;
    await makeWritable(config.workspaceDirectory, 'BERTH_WORKSPACE_DIR');
    await openStateDirectory(config.stateDirectory, this.#log, loginStateParts);
    this.#lease = await acquireLease({
      directory: config.stateDirectory,
      program: 'serve',
      log: this.#log,
      signal,
    });
    this.#lease.lost.addEventListener('abort', () => {
      this.#options.onFatal(this.#lease?.lost.reason as BerthError);
    });
    await credentials.start();
    await this.#loadSessions(signal);
    await pause.load();
    await ledger.load();
    await disk.start();
    signal.throwIfAborted();
    await guard.start();
    pool.start();
    this.#api = await createApiServer({
      ...this.#parts,
      sessions: this.#parts.admission,
      mayAdminister: (token) => this.#options.profiles.mayAdminister(token),
      idempotency: new Idempotency({ window: config.idempotencyWindow }),
      maxPromptBytes: config.maxPromptBytes,
      status: () => this.#status(),
      log: this.#log,
    });
    await this.#api.ready();
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
    const { sessions, pool, disk, retention, guard, credentials, store, ledger } = this.#parts;
    this.#state = 'draining';
    this.#log.info('draining', `finishing ${sessions.running} prompts`, {
      prompts: sessions.running,
    });
    pool.drain(reason);
    await sessions.idle(this.#config.drain, now);
    sessions.interruptAll(reason);
    // Every stream has had its last event before the server closes.
    await sessions.idle(10_000);
    const steps: (() => unknown)[] = [
      () => this.#api && closeServer(this.#api),
      () => disk.stop(),
      () => retention.stop(),
      () => guard.stop(),
      () => pool.stop(),
      () => credentials.stop(),
      () => this.#parts.authentication.close(),
      () => store.stop(),
      () => ledger.flush(),
      () => this.#lease?.release(),
      () => this.#probes?.close(),
    ];
    for (const step of steps) await attempt(step, this.#log);
  }

  async #checkCli(signal: AbortSignal): Promise<void> {
    const { claudePath = 'claude', inherited, configDirectory } = this.#config;
    const environment = cliEnvironment(inherited, configDirectory, 'version');
    this.#cliVersion = await checkVersion(claudePath, environment, signal);
  }

  async #loadSessions(signal: AbortSignal): Promise<void> {
    const { store } = this.#parts;
    const unreadable = await store.open(signal);
    const known: WorkingDirectory[] = [];
    for await (const { working_directory } of store.all()) known.push(working_directory);
    // What cannot be read may name a directory: then none counts as nobody's.
    const orphans = unreadable > 0 ? 0 : await this.#sweep(known);
    const level = unreadable > 0 ? 'warn' : 'info';
    this.#log[level]('sessions_loaded', `found ${store.size} sessions`, {
      sessions: store.size,
      unreadable,
      directories_removed: orphans,
    });
  }

  async #sweep(known: readonly WorkingDirectory[]): Promise<number> {
    try {
      return await this.#parts.workspaces.sweep(known);
    } catch (error) {
      this.#log.warn('retention_failed', "cannot remove a directory that is no session's", {
        error,
      });
      return 0;
    }
  }

  #status(): Status {
    return describeStatus({
      ...this.#parts,
      state: this.#state,
      started: this.#started,
      cliVersion: this.#cliVersion,
      config: this.#config,
      profiles: this.#options.profiles,
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
