/** Runs the CLI, or its stand-in, without berth, in the simplest way. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import split2 from 'split2';
import { cliEnvironment } from '../supervisor/claude/environment.ts';
import { cliArguments } from '../supervisor/claude/flags.ts';
import { controlLineOf, userLine } from '../supervisor/claude/protocol.ts';
import { launchOf } from '../supervisor/profiles/launch.ts';
import { builtInProfile } from '../supervisor/profiles/profile.ts';
import { cleanupPeriodDays } from '../supervisor/sessions/retention.ts';
import { apiKey, settling } from './berth.ts';

/** The directories and the environment of a CLI process. */
export interface Place {
  environment: Record<string, string>;
  workspace: string;
}

/** Makes a configuration directory, its workspace, and the environment that berth would set. */
export async function makePlace(directory: string, apiUrl: string): Promise<Place> {
  const workspace = join(directory, 'workspace');
  await mkdir(workspace, { recursive: true });
  const inherited = {
    PATH: process.env.PATH,
    HOME: directory,
    ANTHROPIC_BASE_URL: apiUrl,
    ANTHROPIC_API_KEY: apiKey,
  };
  return { environment: cliEnvironment(inherited, directory, 'bench'), workspace };
}

/** Runs `claude -p` to its end, as a shell script does; returns its output. */
export async function runClaude(
  { environment, workspace }: Place,
  prompt: string,
  flags: readonly string[] = [],
): Promise<{ code: number | null; output: string }> {
  const child = spawn('claude', ['-p', '--output-format', 'json', ...flags, prompt], {
    env: environment,
    cwd: workspace,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString('utf8');
  });
  const [code] = await once(child, 'close');
  return { code, output };
}

/** Milliseconds for which berth keeps unused sessions by default. */
const defaultRetention = 30 * 24 * 3_600_000;

/** Milliseconds after the end of its input until a process is killed. */
const longestEnd = 5_000;

/**
 * A process with the flags and the variables of berth's worker, and nothing between it and the
 * caller: the lower bound.
 */
export class BareProcess {
  readonly #child;
  readonly #lines;

  constructor({ environment, workspace }: Place, path = 'claude') {
    const launch = launchOf(builtInProfile(0), {}, String(environment.CLAUDE_CONFIG_DIR));
    const sessionId = crypto.randomUUID();
    const retention = { cleanupPeriodDays: cleanupPeriodDays(defaultRetention) };
    const flags = { ...launch.options, sessionId, noHooks: true, ...retention };
    this.#child = spawn(path, cliArguments(flags), {
      env: { ...environment, ...launch.environment },
      cwd: workspace,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = this.#child.stdout.pipe(split2());
  }

  /** Starts a process that is primed like a worker of berth, and waits as long. */
  static async warm(place: Place, path?: string): Promise<BareProcess> {
    const bare = new BareProcess(place, path);
    await bare.#ask(controlLineOf(crypto.randomUUID(), { subtype: 'initialize' }));
    await bare.prompt(' ');
    await new Promise((resolve) => setTimeout(resolve, settling));
    return bare;
  }

  /** Resolves with the result of the prompt. */
  prompt(text: string): Promise<void> {
    return this.#ask(userLine(text, crypto.randomUUID()));
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    // Discards the rest of the output: a full pipe would prevent the process from ending.
    this.#lines.resume();
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), longestEnd);
    await ended;
    clearTimeout(timer);
  }

  #ask(line: string): Promise<void> {
    return new Promise((resolve) => {
      const look = (answer: string): void => {
        const { type } = JSON.parse(answer) as { type?: string };
        if (type !== 'result' && type !== 'control_response') return;
        this.#lines.off('data', look);
        resolve();
      };
      this.#lines.on('data', look);
      this.#child.stdin.write(line);
    });
  }
}
