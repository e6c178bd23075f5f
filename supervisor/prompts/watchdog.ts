/**
 * Notices a turn that hangs: nothing written and no CPU used in the process tree for a bound.
 * Always holds: it only watches; it calls `onStall` once at most, and never after `stop`. What spins
 * without an end is left to the turn's deadline.
 */
import type { CliTimeouts } from '../claude/timeouts.ts';

export interface WatchdogOptions {
  /** Milliseconds of silence while the model is waited for. */
  bound: number;
  /** Milliseconds of silence while a tool runs; a tool that sleeps is no hang. */
  toolBound: number;
  /** When the process last wrote something, in milliseconds by `now`. */
  lastOutput: () => number;
  /** CPU time that the process tree has used, in milliseconds. */
  cpu: () => Promise<number>;
  /** Told how long nothing has happened, in milliseconds. */
  onStall: (quiet: number) => void;
  now?: () => number;
}

/** The longest tool call of the CLI by default: Bash is ended then (BASH_MAX_TIMEOUT_MS). */
const longestToolCall = 10 * 60_000;

/** Milliseconds in which the CLI notices that one of its own time-outs has passed. */
const notice = 60_000;

/**
 * The bounds for a process: the CLI is never called hung before its own time-out has passed.
 * @param own what berth is set to
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

/** Looks in one bound: a hang is noticed at most that part of the bound late. */
const looks = 12;

/** An idle CLI uses CPU for its timers and collections of garbage: a share of time that is nothing. */
const idleShare = 0.02;

export class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #now: () => number;
  readonly #tools = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #quietSince: number;
  /** CPU time and time of the last look. */
  #last: { cpu: number; at: number } | undefined;
  #excusedUntil = Number.NEGATIVE_INFINITY;
  #looking = false;
  #over = false;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#quietSince = this.#now();
    this.#timer = setInterval(() => void this.look(), Math.max(10, options.bound / looks));
    this.#timer.unref();
  }

  toolsBegun(ids: readonly string[]): void {
    for (const id of ids) this.#tools.add(id);
  }

  toolsEnded(ids: readonly string[]): void {
    for (const id of ids) this.#tools.delete(id);
  }

  /** Silence was announced, in milliseconds from now: it counts from its end. */
  excuse(milliseconds: number): void {
    this.#excusedUntil = this.#now() + milliseconds;
  }

  stop(): void {
    this.#over = true;
    clearInterval(this.#timer);
  }

  /** One look; by itself it looks twelve times in a bound. */
  async look(): Promise<void> {
    if (this.#looking || this.#over) return;
    this.#looking = true;
    try {
      const cpu = await this.#options.cpu();
      if (!this.#over) this.#judge(cpu);
    } catch {
      // What cannot be read is no sign of a hang.
      this.#quietSince = this.#now();
    } finally {
      this.#looking = false;
    }
  }

  #judge(cpu: number): void {
    const { bound, toolBound, lastOutput, onStall } = this.#options;
    const now = this.#now();
    const last = this.#last;
    this.#last = { cpu, at: now };
    // A sum that falls is a child that has ended, so something happens.
    const used = last && (cpu < last.cpu || cpu - last.cpu > (now - last.at) * idleShare);
    if (used) this.#quietSince = now;
    this.#quietSince = Math.max(this.#quietSince, lastOutput());
    const quiet = now - Math.max(this.#quietSince, this.#excusedUntil);
    if (quiet < (this.#tools.size > 0 ? Math.max(bound, toolBound) : bound)) return;
    this.stop();
    onStall(quiet);
  }
}
