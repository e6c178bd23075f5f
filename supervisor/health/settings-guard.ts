/**
 * Refuses prompts while the CLI ignores protective settings: a denial or a hook that is in
 * settings.json and not in force.
 * Invariants: a process is queried after its start, and again when settings.json has changed,
 * because a running process reads the file again. A process that ignores another file is queried
 * before each prompt. A process that does not reply causes no refusal.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { describeSettingsProblem, disarming, settingsProblems } from '../../shared/cli-settings.ts';
import { BerthError, systemCode } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { within } from '../../shared/waiting.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import {
  type IgnoredSettings,
  ignoredSettings,
  readSettingsFile,
} from '../claude/settings-in-force.ts';

export interface SettingsGuardOptions {
  configDirectory: string;
  policy: 'refuse' | 'warn';
  log: Log;
}

/** Milliseconds that a process has to report what it ignores; it usually needs a few. */
const patience = 10_000;
const mostListed = 20;

type Process = Pick<ClaudeProcess, 'control'>;

interface Judgement {
  /** The version of settings.json that was judged. */
  version: string;
  ignored: readonly IgnoredSettings[];
}

export class SettingsGuard {
  readonly #options: SettingsGuardOptions;
  readonly #file: string;
  readonly #judged = new WeakMap<Process, Judgement>();
  #last: Judgement | undefined;
  #told = '';

  constructor(options: SettingsGuardOptions) {
    this.#options = options;
    this.#file = join(options.configDirectory, 'settings.json');
  }

  /** The settings that are ignored now; by berth's own rule until a process has reported them. */
  get ignored(): readonly IgnoredSettings[] {
    const version = this.#version();
    if (this.#last?.version === version) return this.#last.ignored;
    const ignored = this.#byOwnRule();
    this.#last = { version, ignored };
    this.#logIgnored(ignored);
    return ignored;
  }

  /** Queries a process that has just started; never rejects. */
  async note(process: Process): Promise<void> {
    await this.#judge(process);
  }

  /**
   * Call it before a prompt waits for a worker.
   * @throws BerthError `configuration_invalid` if settings that protect are known to be ignored
   */
  assertInForce(): void {
    // Another file may be corrected by now: only a process knows.
    this.#refuse(this.ignored.filter(({ file }) => file === this.#file));
  }

  /** @throws BerthError `configuration_invalid` if the process ignores settings that protect */
  async check(process: Process): Promise<void> {
    this.#refuse(await this.#judge(process));
  }

  #refuse(ignored: readonly IgnoredSettings[]): void {
    const [first] = ignored;
    if (first === undefined || this.#options.policy === 'warn') return;
    const more = ignored.length > 1 ? ` (and ${ignored.length - 1} more)` : '';
    const what = first.loses === 'all' ? `all of ${first.file}` : `a part of ${first.file}`;
    throw new BerthError(
      'configuration_invalid',
      `cannot run the prompt: the CLI ignores ${what}, so forbidden actions would be allowed: ${describeSettingsProblem(first)}${more}; correct it in the .claude repository and restart, or set BERTH_SETTINGS_CHECK=warn`,
    );
  }

  async #judge(process: Process): Promise<readonly IgnoredSettings[]> {
    const version = this.#version();
    const known = this.#judged.get(process);
    if (known?.version === version && known.ignored.every(({ file }) => file === this.#file)) {
      return known.ignored;
    }
    const ignored = await this.#ask(process);
    if (ignored === undefined) return [];
    const judgement = { version, ignored };
    this.#judged.set(process, judgement);
    this.#last = judgement;
    this.#logIgnored(ignored);
    return ignored;
  }

  async #ask(process: Process): Promise<IgnoredSettings[] | undefined> {
    const asked = ignoredSettings(process, this.#options.configDirectory);
    // A process that ends, or is stuck, fails the turn by itself.
    return within(
      asked.catch(() => undefined),
      patience,
    );
  }

  #logIgnored(ignored: readonly IgnoredSettings[]): void {
    const { log, policy } = this.#options;
    const problems = ignored.slice(0, mostListed).map(({ file, ...rest }) => {
      return `${file}: ${describeSettingsProblem(rest)}`;
    });
    // berth's own rule and the CLI report the same problem with different texts.
    const where = ignored.map(({ file, path }) => `${file}: ${path}`).join('\n');
    if (where === this.#told) return;
    this.#told = where;
    if (where === '') {
      log.info('settings_in_force', 'the CLI ignores nothing of settings.json any more');
      return;
    }
    const then = policy === 'refuse' ? 'prompts are refused' : 'prompts run without it';
    log.error('settings_ignored', `the CLI ignores ${problems[0]}; ${then}`, { problems });
  }

  #byOwnRule(): IgnoredSettings[] {
    try {
      const text = readSettingsFile(this.#file);
      if (text === undefined) return [];
      const problems = disarming(settingsProblems(Buffer.from(text)));
      return problems.map((problem) => ({ ...problem, file: this.#file }));
    } catch {
      return [];
    }
  }

  #version(): string {
    try {
      const { ino, size, mtimeMs, ctimeMs } = statSync(this.#file, { throwIfNoEntry: false }) ?? {};
      return `${ino}:${size}:${mtimeMs}:${ctimeMs}`;
    } catch (error) {
      // For example a symlink to itself.
      return `${systemCode(error)}`;
    }
  }
}
