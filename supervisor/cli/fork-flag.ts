/**
 * Knows whether the CLI can fork a session at an earlier message, for which it has a hidden flag. The first such fork
 * queries the CLI, because few servers need the flag and the query costs a second of CPU time.
 * Invariants: each version is queried once. If the query fails now, the fork is tried, and the next fork queries again.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from '../../shared/log.ts';
import { cliEnvironment } from '../claude/environment.ts';
import { hasForkFlag } from '../claude/version.ts';
import type { SupervisorConfig } from '../config.ts';
import type { Cli } from './select.ts';

export interface ForkFlagOptions {
  config: Pick<SupervisorConfig, 'inherited'>;
  cli: () => Cli;
  log: Log;
}

export class ForkFlag {
  readonly #options: ForkFlagOptions;
  /** By path and version. */
  readonly #answers = new Map<string, Promise<boolean>>();
  #last: boolean | undefined;

  constructor(options: ForkFlagOptions) {
    this.#options = options;
  }

  /** The last answer; undefined before the first. */
  get known(): boolean | undefined {
    return this.#last;
  }

  /** @throws the signal's reason */
  async has(signal: AbortSignal): Promise<boolean> {
    const { path, version } = this.#options.cli();
    const key = `${path} ${version}`;
    const answer = this.#answers.get(key) ?? this.#ask(path, version, signal);
    this.#answers.set(key, answer);
    try {
      return await answer;
    } catch {
      this.#answers.delete(key);
      signal.throwIfAborted();
      return true;
    }
  }

  async #ask(path: string, version: string, signal: AbortSignal): Promise<boolean> {
    const { config, log } = this.#options;
    const { inherited } = config;
    // The CLI writes into its configuration even now.
    const directory = await mkdtemp(join(inherited.TMPDIR ?? '/tmp', 'berth-fork-flag-'));
    let has: boolean;
    try {
      has = await hasForkFlag(path, cliEnvironment(inherited, directory, 'fork-flag'), signal);
    } finally {
      await rm(directory, { recursive: true, force: true }).catch(() => undefined);
    }
    this.#last = has;
    if (!has) {
      const text = `Claude Code ${version} cannot fork a session at an earlier message: earlier histories of clients begin a new session, which gets them as data`;
      log.warn('cli_tested', text, { cli_version: version });
    }
    return has;
  }
}
