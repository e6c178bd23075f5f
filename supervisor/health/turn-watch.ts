/**
 * Gives the watchdog, and the watch of the `apiKeyHelper`, the messages of one turn: tools, retries,
 * questions to a person.
 */
import type { BerthError } from '../../shared/errors.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import type { CliMessage } from '../claude/protocol.ts';
import { HelperWatch, helperBound } from './helper-watch.ts';
import { boundsFor, Watchdog } from './watchdog.ts';

export interface HangWatch {
  /** Milliseconds without output and CPU after which a turn hangs while no tool runs, at least. */
  bound: number;
  /** The same while a tool runs; by default a little more than the CLI gives a command. */
  toolBound?: number;
  /** CPU time in milliseconds that the tree of a process has used. */
  cpuOf: (pid: number) => Promise<number>;
  /** The arguments of each child of a process. Without it, an `apiKeyHelper` that hangs is a hang like others. */
  commandsOf?: (pid: number) => Promise<string[][]>;
}

export interface TurnWatchOptions {
  /** Called with the milliseconds of the silence. */
  onStall: (quiet: number) => void;
  /** Called with the error of the turn. */
  onHelperHang: (error: BerthError) => void;
}

export class TurnWatch {
  readonly #watchdog: Watchdog;
  readonly #helper: HelperWatch | undefined;
  /** Questions about calls of tools that wait for a person. */
  #questions = 0;
  /** When the CLI repeats a call of the model, by performance.now(). */
  #retryAt = Number.NEGATIVE_INFINITY;

  constructor(
    process: ClaudeProcess,
    { bound, toolBound, cpuOf, commandsOf }: HangWatch,
    { onStall, onHelperHang }: TurnWatchOptions,
  ) {
    const own = { bound, ...(toolBound === undefined ? {} : { toolBound }) };
    this.#watchdog = new Watchdog({
      ...boundsFor(own, process.timeouts),
      onStall,
      lastOutput: () => process.lastOutput,
      cpu: () => cpuOf(process.pid ?? 0),
    });
    const onHang = onHelperHang;
    this.#helper =
      commandsOf && new HelperWatch({ process, commandsOf, bound: helperBound(bound), onHang });
  }

  note(message: CliMessage): void {
    const { kind } = message;
    if (kind === 'tools') this.#watchdog.toolsBegun(message.tools.map(({ id }) => id));
    if (kind === 'tool_results') this.#watchdog.toolsEnded(message.results.map(({ id }) => id));
    // The CLI is silent until its retry: up to 38 s by default, or as long as the API has requested.
    if (kind === 'retry') {
      this.#retryAt = performance.now() + message.delayMs;
      this.#excuse();
    }
    if (kind === 'session' && message.loaded.keySource === 'apiKeyHelper') this.#helper?.begin();
  }

  /** While a person decides, the CLI is silent. @param over resolves when the decision is there */
  excuseUntil(over: Promise<void>): void {
    this.#questions += 1;
    this.#excuse();
    void over.then(() => {
      this.#questions -= 1;
      this.#excuse();
    });
  }

  /** A retry does not end the wait for a person, and an answer does not end the wait for a retry. */
  #excuse(): void {
    const untilRetry = Math.max(0, this.#retryAt - performance.now());
    this.#watchdog.excuse(this.#questions > 0 ? Number.POSITIVE_INFINITY : untilRetry);
  }

  stop(): void {
    this.#watchdog.stop();
    this.#helper?.stop();
  }
}
