/**
 * Detects an `apiKeyHelper` that hangs. The CLI waits for it before a call of the model, writes nothing meanwhile,
 * and does not end its turn when it is interrupted.
 * Invariants: a helper hangs if it is seen in each sample of a whole bound, in which the CLI writes nothing. So a
 * model that is slow is no hang. `onHang` is called once at most, and never after `stop`.
 */
import { BerthError } from '../../shared/errors.ts';
import { redact } from '../../shared/redact.ts';
import { helperInForce, runsHelper } from '../claude/api-key-helper.ts';
import type { ClaudeProcess } from '../claude/process.ts';

export interface HelperWatchOptions {
  process: Pick<ClaudeProcess, 'control' | 'lastOutput' | 'pid'>;
  /** Milliseconds. */
  bound: number;
  /** The arguments of each child of a process. */
  commandsOf: (pid: number) => Promise<string[][]>;
  /** Called with the error of the turn. */
  onHang: (error: BerthError) => void;
}

/** The bound for helpers in milliseconds, with the bound for hangs of all kinds. */
export const helperBound = (hang: number): number => Math.min(60_000, hang / 2);

/** Samples within one bound. */
const samples = 4;
const longestShown = 100;

export class HelperWatch {
  readonly #options: HelperWatchOptions;
  #timer: NodeJS.Timeout | undefined;
  /** How many samples in a row have seen the helper. */
  #seen = 0;

  constructor(options: HelperWatchOptions) {
    this.#options = options;
  }

  /** Call it when the CLI has named the helper as the source of its key. */
  begin(): void {
    if (this.#timer) return;
    const { process, bound } = this.#options;
    // The answer is output of the CLI, so the command is requested before the silence.
    const helper = helperInForce(process);
    this.#timer = setInterval(
      () => void helper.then((line) => this.#sample(line)),
      bound / samples,
    );
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #sample(helper: string | undefined): Promise<void> {
    const { process, bound, commandsOf, onHang } = this.#options;
    if (helper === undefined || process.pid === undefined) return;
    const commands = await commandsOf(process.pid);
    this.#seen = commands.some((argv) => runsHelper(helper, argv)) ? this.#seen + 1 : 0;
    const silent = performance.now() - process.lastOutput >= bound;
    if (!this.#timer || !silent || this.#seen <= samples) return;
    this.stop();
    onHang(hangs(helper, bound));
  }
}

function hangs(helper: string, bound: number): BerthError {
  const shown = redact(helper.replaceAll(/\s+/g, ' ')).slice(0, longestShown);
  return new BerthError(
    'login_unavailable',
    `cannot answer the prompt: the apiKeyHelper of settings.json (${shown}) has printed no key for ${Math.round(bound / 1_000)} s; run the command in the pod and see what it waits for, or correct it in the .claude repository`,
  );
}
