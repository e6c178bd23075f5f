/**
 * A pod with berth in it, as Kubernetes runs one: init, the write-back sidecar, the supervisor; each the
 * bundle that the image has. Invariants: what runs is this pod's, also after a kill: `processes` knows
 * all of it, down to the CLI.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { makeToken, tokenLine } from '../../supervisor/http/tokens.ts';
import { realClaude } from '../support/claude.ts';
import { lives, processesOf } from '../support/processes.ts';
import { type LogLine, type Program, startProgram } from '../support/programs.ts';
import type { PromptTarget } from '../support/prompt.ts';
import { until } from '../support/until.ts';
import { secret, type World } from './credentials-world.ts';

/** What the days are spent with: berth, or what was there before it. */
export interface Pod {
  readonly volume: string;
  /** Returns when prompts are taken. @param killInitAfter milliseconds; then init runs again */
  start(killInitAfter?: number): Promise<void>;
  /** As a rollout ends it. */
  stop(): Promise<void>;
  /** Ends these parts with SIGKILL at once; all of them if none is named. */
  kill(...parts: Part[]): Promise<void>;
  /** Starts what was killed of a pod that stays; init does not run again. */
  restart(): Promise<void>;
  /** @returns `ok`, or how it ended instead */
  prompt(): Promise<string>;
  /** Whether it takes a new login from the Secret by itself. */
  readonly followsSource: boolean;
}

export type Part = 'supervisor' | 'workers' | 'one worker' | 'write-back';

export interface BerthPodOptions {
  onLine?: (line: LogLine) => void;
  /** More of the supervisor's environment. */
  settings?: Record<string, string>;
  /** The `cgroup.procs` of the supervisor's cgroups. */
  cgroup?: readonly string[];
}

export class BerthPod implements Pod {
  readonly followsSource = true;
  readonly volume: string;
  readonly #world: World;
  readonly #token = makeToken();
  readonly #options: BerthPodOptions;
  #supervisor: Program | undefined;
  #writeBack: Program | undefined;
  #url = '';

  constructor(world: World, options: BerthPodOptions = {}) {
    this.#world = world;
    this.#options = options;
    this.volume = join(world.directory, 'volume');
    for (const name of ['volume', 'home', 'tmp']) mkdirSync(join(world.directory, name));
    writeFileSync(join(world.directory, 'tokens'), `${tokenLine('days', this.#token)}\n`);
  }

  async start(killInitAfter?: number): Promise<void> {
    const live = this.#world.mountLive();
    if (killInitAfter !== undefined) {
      const first = this.#init(live);
      await Promise.race([delay(killInitAfter), first.ended]);
      first.kill('SIGKILL');
      await first.ended;
    }
    const init = this.#init(live);
    const code = await init.ended;
    if (code !== 0) throw new Error(`init ended with ${code}:\n${init.output}`);
    await this.restart();
  }

  /** Where prompts are taken. */
  get target(): PromptTarget {
    return { url: this.#url, token: this.#token };
  }

  /** Where the supervisor and the sidecar tell their metrics, as `http://127.0.0.1:1234`. */
  async metrics(): Promise<string[]> {
    const parts = [this.#supervisor, this.#writeBack];
    const lines = await Promise.all(parts.map((program) => program?.logged('listening')));
    return lines.map((line) => String(line?.metrics_address));
  }

  async restart(): Promise<void> {
    const { onLine, cgroup } = this.#options;
    const observed = onLine ? { onLine } : {};
    this.#writeBack ??= startProgram('serve', {
      arguments: ['write-back'],
      ...observed,
      environment: this.#sidecarEnvironment(),
    });
    if (!this.#supervisor) {
      // It lies in the container's own file system, which is new with each container.
      rmSync(`${this.volume}.lock`, { recursive: true, force: true });
      const supervisor = startProgram('serve', {
        arguments: ['serve'],
        ...observed,
        ...(cgroup ? { cgroup } : {}),
        environment: this.#environment(),
      });
      this.#supervisor = supervisor;
      this.#url = String((await supervisor.logged('listening')).address);
    }
  }

  async stop(): Promise<void> {
    for (const program of [this.#supervisor, this.#writeBack]) {
      program?.kill('SIGTERM');
      await Promise.race([program?.ended, delay(30_000, undefined, { ref: false })]);
    }
    await this.kill();
  }

  async kill(...parts: Part[]): Promise<void> {
    const has = (part: Part): boolean => parts.length === 0 || parts.includes(part);
    const supervisor = has('supervisor') ? this.#supervisor : undefined;
    const writeBack = has('write-back') ? this.#writeBack : undefined;
    supervisor?.kill('SIGKILL');
    writeBack?.kill('SIGKILL');
    // A container's processes end with its first one.
    if (has('supervisor') || has('workers') || has('one worker')) {
      const found = processesOf(this.volume);
      const [one] = found.filter(({ leader }) => leader);
      const doomed = has('supervisor') || has('workers') ? found : one ? [one] : [];
      for (const { pid } of doomed) killIfThere(pid);
      await until('they are gone', () => !doomed.some(({ pid }) => lives(pid)));
    }
    await Promise.all([supervisor?.ended, writeBack?.ended]);
    if (supervisor) this.#supervisor = undefined;
    if (writeBack) this.#writeBack = undefined;
  }

  async prompt(): Promise<string> {
    try {
      const response = await fetch(`${this.#url}/v1/prompts`, {
        method: 'POST',
        headers: {
          authorization: `Bearer ${this.#token}`,
          'content-type': 'application/json',
        },
        body: JSON.stringify({ prompt: '[[say hello]]' }),
        signal: AbortSignal.timeout(60_000),
      });
      const body = (await response.json()) as { code?: string; is_error?: boolean };
      return body.code ?? (body.is_error ? 'is_error' : 'ok');
    } catch {
      return 'no answer';
    }
  }

  #init(live: string): Program {
    return startProgram('init', {
      environment: {
        BERTH_REPO: this.#world.repositoryUrl,
        BERTH_CONFIG_DIR: this.volume,
        BERTH_WORKSPACE_DIR: join(this.#world.directory, 'workspace'),
        BERTH_CREDENTIALS_SOURCE: this.#world.source,
        BERTH_CREDENTIALS_LIVE_SOURCE: live,
        BERTH_TERMINATION_LOG: join(this.#world.directory, 'termination-log'),
        // Whoever is dead is known to be: its lease must not cost ten seconds each time.
        BERTH_LEASE_EXPIRY: '200ms',
      },
    });
  }

  #sidecarEnvironment(): Record<string, string> {
    const { kubernetes, account } = this.#world;
    const { hostname, port } = new URL(kubernetes.url);
    return {
      BERTH_CONFIG_DIR: this.volume,
      BERTH_WRITE_BACK_SECRET: secret.name,
      BERTH_WRITE_BACK_LISTEN: '127.0.0.1:0',
      BERTH_KUBERNETES_ACCOUNT_DIR: account,
      KUBERNETES_SERVICE_HOST: hostname,
      KUBERNETES_SERVICE_PORT: port,
    };
  }

  #environment(): Record<string, string> {
    const { directory, login, messages, source } = this.#world;
    return {
      ...login.environment,
      HOME: join(directory, 'home'),
      TMPDIR: join(directory, 'tmp'),
      ANTHROPIC_BASE_URL: messages.url,
      CLAUDE_CODE_MAX_RETRIES: '0',
      BERTH_CONFIG_DIR: this.volume,
      BERTH_WORKSPACE_DIR: join(directory, 'workspace'),
      BERTH_API_TOKENS_FILE: join(directory, 'tokens'),
      BERTH_CREDENTIALS_SOURCE: source,
      BERTH_SHARED_SPARES: '0',
      BERTH_HTTP_LISTEN: '127.0.0.1:0',
      BERTH_METRICS_LISTEN: '127.0.0.1:0',
      BERTH_CLAUDE_PATH: realClaude,
      BERTH_MAX_WORKERS: '3',
      BERTH_DRAIN: '5s',
      BERTH_DRAIN_DELAY: '0s',
      ...this.#options.settings,
    };
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
