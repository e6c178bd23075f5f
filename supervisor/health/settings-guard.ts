/**
 * Refuses prompts while the CLI ignores protective settings: a denial or a hook that is in
 * settings.json and not in force.
 * Invariants: a process is queried after its start, and again when settings.json has changed, or
 * another file that some process has ignored: a running process reads them again. What is known
 * about another file counts for half a minute: its name need not be that of a file. A process that
 * does not reply causes no new refusal.
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
  /** Milliseconds of a monotonic clock. */
  now?: () => number;
}

/** Milliseconds that a process has to report what it ignores; it usually needs a few. */
const patience = 10_000;
const mostListed = 20;

type Process = Pick<ClaudeProcess, 'control'>;

interface Judgement {
  /** The versions of the files that were judged, by path. */
  versions: Versions;
  ignored: readonly IgnoredSettings[];
  /** By the monotonic clock. */
  at: number;
}

type Versions = ReadonlyMap<string, string>;

/** Files beside settings.json whose versions are watched. */
const mostOthers = 20;

/** Milliseconds for which a judgement about them counts. */
const othersCount = 30_000;

export class SettingsGuard {
  readonly #options: SettingsGuardOptions;
  readonly #file: string;
  readonly #now: () => number;
  readonly #judged = new WeakMap<Process, Judgement>();
  /** Files that a process has ignored: the settings of an administrator, for example. */
  readonly #others = new Set<string>();
  #last: Judgement | undefined;
  #logged = '';

  constructor(options: SettingsGuardOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#file = join(options.configDirectory, 'settings.json');
  }

  /** The settings that are ignored now; by berth's own rule until a process has reported them. */
  get ignored(): readonly IgnoredSettings[] {
    const versions = this.#versions();
    const last = this.#last;
    if (last && isOf(last, versions)) return last.ignored;
    // What a process has reported counts until the file changes.
    const isSame = (file: string): boolean =>
      versions.has(file) && last?.versions.get(file) === versions.get(file);
    const own = isSame(this.#file) ? [] : this.#byOwnRule();
    const ignored = [...own, ...(last?.ignored ?? []).filter(({ file }) => isSame(file))];
    this.#last = { versions, ignored, at: last?.at ?? this.#now() };
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
    const { ignored } = this;
    const isRecent = this.#last !== undefined && this.#counts(this.#last);
    this.#refuse(isRecent ? ignored : ignored.filter(({ file }) => file === this.#file));
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
    const where =
      first.file === this.#file ? 'correct it in the .claude repository and restart' : 'correct it';
    throw new BerthError(
      'configuration_invalid',
      `cannot run the prompt: the CLI ignores ${what}, so forbidden actions would be allowed: ${describeSettingsProblem(first)}${more}; ${where}, or set BERTH_SETTINGS_CHECK=warn`,
    );
  }

  async #judge(process: Process): Promise<readonly IgnoredSettings[]> {
    const known = this.#judged.get(process);
    const isUnchanged = known && isOf(known, this.#versions());
    if (isUnchanged && this.#counts(known)) return known.ignored;
    // Without a reply, what was reported of the same files counts still.
    let reported = isUnchanged ? known.ignored : [];
    for (;;) {
      // Read before the query: a file that changes meanwhile is judged again.
      const versions = this.#versions();
      const ignored = await this.#ask(process);
      if (ignored === undefined) return reported;
      reported = ignored;
      const unwatched = ignored.filter(({ file }) => !versions.has(file));
      for (const { file } of unwatched) {
        if (this.#others.size < mostOthers) this.#others.add(file);
      }
      if (unwatched.some(({ file }) => this.#others.has(file))) continue;
      const judgement = { versions, ignored, at: this.#now() };
      this.#judged.set(process, judgement);
      if (isOf(judgement, this.#versions())) {
        this.#last = judgement;
        this.#logIgnored(ignored);
      }
      return ignored;
    }
  }

  #counts({ ignored, at }: Judgement): boolean {
    const isAboutOthers = ignored.some(({ file }) => file !== this.#file);
    return !isAboutOthers || this.#now() - at < othersCount;
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
    if (where === this.#logged) return;
    this.#logged = where;
    if (where === '') {
      log.info('settings_in_force', 'the CLI ignores no settings any more');
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

  #versions(): Versions {
    return new Map([this.#file, ...this.#others].map((file) => [file, versionOf(file)]));
  }
}

function versionOf(file: string): string {
  try {
    const { ino, size, mtimeMs, ctimeMs } = statSync(file, { throwIfNoEntry: false }) ?? {};
    return `${ino}:${size}:${mtimeMs}:${ctimeMs}`;
  } catch (error) {
    // For example a symlink to itself.
    return `${systemCode(error)}`;
  }
}

/** Whether the judgement is about these versions of these files. */
function isOf({ versions }: Judgement, now: Versions): boolean {
  return now.size === versions.size && [...now].every(([file, at]) => versions.get(file) === at);
}
