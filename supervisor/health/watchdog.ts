/**
 * Detects a turn that hangs: for some time the process writes nothing and its process tree uses no CPU.
 * Invariants: the watchdog only observes; it calls `onStall` once at most, and never after `stop`. A turn that uses CPU
 * without an end is ended by the deadline of its prompt.
 */
import type { CliTimeouts } from '../claude/timeouts.ts';

export interface WatchdogOptions {
  /** Milliseconds of silence that count as a hang while the model works. */
  bound: number;
  /** The same while a tool runs: a tool that sleeps does not hang. */
  toolBound: number;
  /** When the process last wrote something, in milliseconds by `now`. */
  lastOutput: () => number;
  /** CPU time that the process tree has used, in milliseconds. */
  cpu: () => Promise<number>;
  /** Called with the length of the silence, in milliseconds. */
  onStall: (quiet: number) => void;
  now?: () => number;
}

/** The longest tool call of the CLI by default: Bash is ended then (BASH_MAX_TIMEOUT_MS). */
const longestToolCall = 10 * 60_000;

/** Milliseconds that the CLI needs to act on its own time-outs. */
const notice = 60_000;

/**
 * The bounds for a process: no hang is reported before the CLI's own time-outs have passed.
 * @param own the settings of berth
 */
export function boundsFor(
  { bound, toolBound = longestToolCall + notice }: { bound: number; toolBound?: number },
  timeouts: CliTimeouts,
): Pick<WatchdogOptions, 'bound' | 'toolBound'> {
  const follow = (least: number, ...times: (number | undefined)[]): number =>
    Math.max(least, ...times.flatMap((time) => (time === undefined ? [] : time + notice)));
  return {
    // A process that resumes a session waits for its MCP servers in its first turn.
    bound: follow(bound, timeouts.model, timeouts.start),
    toolBound: follow(toolBound, timeouts.tool),
  };
}

/** Samples within one bound: a hang is detected at most that part of the bound late. */
const samplesPerBound = 12;

/** The share of time that an idle CLI uses for timers and garbage collection. */
const idleShare = 0.02;

export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #now: () => number;
  readonly #tools = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #quietSince: number;
  /** The CPU time and the time of the last sample. */
  #last: { cpu: number; at: number } | undefined;
  #excusedUntil = Number.NEGATIVE_INFINITY;
  #sampling = false;
  #over = false;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#quietSince = this.#now();
    this.#timer = setInterval(
      () => void this.sample(),
      Math.max(10, options.bound / samplesPerBound),
    );
    this.#timer.unref();
  }

  toolsBegun(ids: readonly string[]): void {
    for (const id of ids) this.#tools.add(id);
  }

  toolsEnded(ids: readonly string[]): void {
    for (const id of ids) this.#tools.delete(id);
  }

  /** The CLI has announced a silence of so many milliseconds: a hang counts from the end of it. */
  excuse(milliseconds: number): void {
    this.#excusedUntil = this.#now() + milliseconds;
  }

  stop(): void {
    this.#over = true;
    clearInterval(this.#timer);
  }

  /** Takes one sample; the timer takes twelve within a bound. */
  async sample(): Promise<void> {
    if (this.#sampling || this.#over) return;
    this.#sampling = true;
    try {
      const cpu = await this.#options.cpu();
      if (!this.#over) this.#judge(cpu);
    } catch {
      // A failed reading is no sign of a hang.
      this.#quietSince = this.#now();
    } finally {
      this.#sampling = false;
    }
  }

  #judge(cpu: number): void {
    const { bound, toolBound, lastOutput, onStall } = this.#options;
    const now = this.#now();
    const last = this.#last;
    this.#last = { cpu, at: now };
    // A smaller sum means that a child has ended: the process is active.
    const used = last && (cpu < last.cpu || cpu - last.cpu > (now - last.at) * idleShare);
    if (used) this.#quietSince = now;
    this.#quietSince = Math.max(this.#quietSince, lastOutput());
    const quiet = now - Math.max(this.#quietSince, this.#excusedUntil);
    if (quiet < (this.#tools.size > 0 ? Math.max(bound, toolBound) : bound)) return;
    this.stop();
    onStall(quiet);
  }
}
