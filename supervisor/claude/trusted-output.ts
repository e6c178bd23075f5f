/**
 * Reads the output of one CLI process and judges whether the output can be trusted.
 * Invariants: a process whose output cannot be trusted is killed, and no later message counts. Text that is no
 * message is reported once, and never quoted.
 */
import type { ProcessOptions } from './process-options.ts';
import { type CliMessage, readMessage } from './protocol.ts';

type OutputOptions = Pick<ProcessOptions, 'onStray' | 'onForeignSession'> & {
  /** The session that the process was started for, in lower case. */
  sessionId: string | undefined;
  /** Kills the process. @param why is added to what the process wrote to standard error */
  kill: (why: string) => void;
};

export class TrustedOutput {
  readonly #options: OutputOptions;
  #strayed = false;
  #givenUp = false;
  #lastLine = performance.now();

  constructor(options: OutputOptions) {
    this.#options = options;
  }

  /** Whether the process was killed for its output. */
  get givenUp(): boolean {
    return this.#givenUp;
  }

  /** When the process last wrote a line, by performance.now(). */
  get lastLine(): number {
    return this.#lastLine;
  }

  /** Undefined for a line without a message for berth: most lines end here. */
  read(line: string): CliMessage | undefined {
    this.#lastLine = performance.now();
    try {
      return readMessage(line);
    } catch (error) {
      // Text between the messages is harmless. A message of another shape could be an awaited result.
      const foreign = !(error instanceof SyntaxError);
      this.stray(foreign ? 'a message of another shape' : 'a line that is not JSON');
      if (foreign) {
        this.giveUp('the protocol of the CLI differs from the tested protocol');
      }
      return undefined;
    }
  }

  /** Kills a process that claims a session of another process. @returns whether the message counts */
  trusts(message: CliMessage): boolean {
    if (this.#givenUp) return false;
    const { sessionId, onForeignSession } = this.#options;
    const claimed = sessionOf(message);
    if (claimed === undefined || sessionId === undefined) return true;
    if (claimed.toLowerCase() === sessionId) return true;
    onForeignSession?.(claimed);
    this.giveUp('the output of the CLI claimed a session that is not its own');
    return false;
  }

  /** Kills the process: its output cannot be trusted. */
  giveUp(why: string): void {
    this.#givenUp = true;
    this.#options.kill(why);
  }

  /** Reports output that is no message. */
  stray(what: string): void {
    if (!this.#strayed) this.#options.onStray(what);
    this.#strayed = true;
  }
}

function sessionOf(message: CliMessage): string | undefined {
  if (message.kind === 'session') return message.sessionId;
  return message.kind === 'result' ? message.result.sessionId : undefined;
}
