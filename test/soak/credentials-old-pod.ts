/**
 * The same pod without berth: the old script prepares the volume at each start, and each prompt starts
 * the CLI anew, as many as come at once.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { realClaude } from '../support/claude.ts';
import { gitEnvironment } from '../support/repository.ts';
import type { Part, Pod } from './credentials-pod.ts';
import type { World } from './credentials-world.ts';

const script = join(import.meta.dirname, '../support/old-script.sh');

export class OldPod implements Pod {
  readonly followsSource = false;
  readonly volume: string;
  /** Starts at which a person had to empty the volume. */
  cleared = 0;
  readonly #world: World;
  readonly #running = new Set<ChildProcess>();
  #serves = false;

  constructor(world: World) {
    this.#world = world;
    this.volume = join(world.directory, 'volume');
    for (const name of ['volume', 'home', 'tmp', 'workspace']) {
      mkdirSync(join(world.directory, name));
    }
  }

  async start(killInitAfter?: number): Promise<void> {
    if (killInitAfter !== undefined) {
      const first = this.#prepare();
      const over = once(first, 'exit');
      await Promise.race([delay(killInitAfter), over]);
      killGroup(first);
      await over;
    }
    const [code] = await once(this.#prepare(), 'exit');
    if (code !== 0) {
      // What is left of an interrupted clone fails for ever, until somebody takes it away.
      this.cleared += 1;
      for (const name of readdirSync(this.volume)) {
        rmSync(join(this.volume, name), { recursive: true });
      }
      const [again] = await once(this.#prepare(), 'exit');
      if (again !== 0) throw new Error(`the old script ended with ${again}`);
    }
    await this.restart();
  }

  async restart(): Promise<void> {
    // It lies in the container's own file system, which is new with each container.
    rmSync(`${this.volume}.lock`, { recursive: true, force: true });
    this.#serves = true;
  }

  async stop(): Promise<void> {
    this.#serves = false;
    const running = [...this.#running];
    for (const child of running) child.kill('SIGTERM');
    await Promise.all(running.map(ended));
  }

  async kill(...parts: Part[]): Promise<void> {
    if (parts.join() === 'write-back') return;
    if (parts.length === 0 || parts.includes('supervisor')) this.#serves = false;
    const running = [...this.#running].slice(0, parts.includes('one worker') ? 1 : undefined);
    for (const child of running) child.kill('SIGKILL');
    await Promise.all(running.map(ended));
  }

  async prompt(): Promise<string> {
    if (!this.#serves) return 'no answer';
    const { directory, login, messages } = this.#world;
    const child = spawn(realClaude, ['-p', '[[say hello]]', '--output-format', 'json'], {
      cwd: join(directory, 'workspace'),
      env: {
        ...login.environment,
        PATH: process.env.PATH,
        HOME: join(directory, 'home'),
        TMPDIR: join(directory, 'tmp'),
        CLAUDE_CONFIG_DIR: this.volume,
        ANTHROPIC_BASE_URL: messages.url,
        CLAUDE_CODE_MAX_RETRIES: '0',
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.#running.add(child);
    const output = await text(child.stdout);
    this.#running.delete(child);
    try {
      const { is_error: isError, api_error_status: status } = JSON.parse(output);
      return isError ? String(status ?? 'is_error') : 'ok';
    } catch {
      return 'no answer';
    }
  }

  #prepare(): ChildProcess {
    const { directory, repositoryUrl, source } = this.#world;
    return spawn('sh', [script], {
      cwd: directory,
      detached: true,
      stdio: 'ignore',
      env: {
        ...gitEnvironment(),
        REPO_URL: `${repositoryUrl}.git`,
        GITHUB_PAT: 'a-token',
        TARGET: this.volume,
        CREDENTIALS: source,
      },
    });
  }
}

function ended(child: ChildProcess): Promise<unknown> {
  const over = child.exitCode !== null || child.signalCode !== null;
  return over ? Promise.resolve() : once(child, 'exit');
}

function killGroup(child: ChildProcess): void {
  try {
    process.kill(-(child.pid ?? 0), 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
