/**
 * A supervisor with its own volume that is killed and started again, for the soak of jobs.
 * Invariant: after a kill the old process is gone before the next one starts.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { bashAllowed } from '../support/claude.ts';
import { processesOf } from '../support/processes.ts';
import { type Program, startProgram } from '../support/programs.ts';

export interface KilledBerthOptions {
  /** A new one. */
  directory: string;
  /** The CLI's executable. */
  cli: string;
  /** The Messages API. */
  api: string;
  /** The same for supervisors that share their jobs. */
  token: string;
  settings?: Record<string, string>;
}

export class KilledBerth {
  readonly #options: KilledBerthOptions;
  readonly #config: string;
  #program: Program | undefined;
  #address = '';
  #starting: Promise<void> | undefined;
  #isEnding = false;
  /** How the supervisor ended by itself, which is a fault. */
  fault: string | undefined;

  private constructor(options: KilledBerthOptions) {
    this.#options = options;
    this.#config = join(options.directory, 'config');
  }

  /** Makes its directories; the supervisor is not started yet. */
  static async make(options: Omit<KilledBerthOptions, 'token'> & { token?: string }) {
    const { directory, token = makeToken() } = options;
    for (const name of ['config', 'home', 'workspace']) {
      await mkdir(join(directory, name), { recursive: true });
    }
    await writeFile(join(directory, 'tokens'), tokenLine('soak', token));
    await writeFile(join(directory, 'config', 'settings.json'), bashAllowed);
    return new KilledBerth({ ...options, token });
  }

  /** Whether the supervisor listens. */
  get isUp(): boolean {
    return this.#address !== '';
  }

  /** Whether the supervisor that runs has logged the event. */
  logged(event: string): boolean {
    return this.#program?.lines.some((line) => line.event === event) ?? false;
  }

  /** Resolves when it listens. */
  start(): Promise<void> {
    this.#starting ??= this.#start();
    return this.#starting;
  }

  async #start(): Promise<void> {
    const { directory, cli, api, settings } = this.#options;
    const program = startProgram('serve', {
      arguments: ['serve'],
      environment: {
        HOME: join(directory, 'home'),
        ANTHROPIC_API_KEY: 'sk-ant-soak-not-a-key',
        ANTHROPIC_BASE_URL: api,
        BERTH_CONFIG_DIR: this.#config,
        BERTH_WORKSPACE_DIR: join(directory, 'workspace'),
        BERTH_API_TOKENS_FILE: join(directory, 'tokens'),
        BERTH_CLAUDE_PATH: cli,
        BERTH_HTTP_LISTEN: '127.0.0.1:0',
        BERTH_METRICS_LISTEN: '127.0.0.1:0',
        BERTH_MAX_WORKERS: '3',
        BERTH_WARM_WORKERS: '0',
        BERTH_SHARED_SPARES: '0',
        BERTH_DRAIN_DELAY: '0s',
        BERTH_DRAIN: '5s',
        ...settings,
      },
    });
    this.#program = program;
    void program.ended.then((how) => {
      if (this.#program === program && !this.#isEnding) {
        this.fault = `a supervisor ended by itself with ${how}:\n${program.output.slice(-4_000)}`;
      }
    });
    const { address } = await program.logged('listening');
    if (this.#program === program) this.#address = String(address);
  }

  /** @param workers whether its workers are killed too, as when the container ends */
  async kill(workers: boolean): Promise<void> {
    const program = this.#program;
    this.#program = undefined;
    this.#starting = undefined;
    this.#address = '';
    if (!program) return;
    const found = workers ? processesOf(this.#config) : [];
    program.kill('SIGKILL');
    for (const { pid } of found) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // The process has already ended.
      }
    }
    await program.ended;
  }

  async end(): Promise<void> {
    const program = this.#program;
    this.#isEnding = true;
    program?.kill('SIGTERM');
    await program?.ended;
  }

  /** @throws Error while the supervisor is down */
  async call(method: string, path: string, body?: object, headers: Record<string, string> = {}) {
    const response = await fetch(new URL(path, this.#address), {
      method,
      headers: {
        authorization: `Bearer ${this.#options.token}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
        ...headers,
      },
      body: body ? JSON.stringify(body) : null,
      signal: AbortSignal.timeout(30_000),
    });
    // biome-ignore lint/suspicious/noExplicitAny: answers are read field by field.
    const read = (await response.json()) as any;
    return { status: response.status, body: read };
  }
}
