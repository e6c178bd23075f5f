/**
 * One CLI process in stream-json mode: started, asked, interrupted, ended.
 * Always holds: one turn at a time (the CLI merges prompts that arrive during a turn), every promise
 * settles when the process ends, and after `stop` nothing of its process group is left.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { Readable, Writable } from 'node:stream';
import split2 from 'split2';
import { BerthError, messageOf } from '../../shared/errors.ts';
import { within } from '../../shared/waiting.ts';
import { Attribution } from './attribution.ts';
import type { BackgroundTask } from './background.ts';
import { CliHealth } from './cli-health.ts';
import {
  type CliMessage,
  type ControlRequest,
  controlLineOf,
  readMessage,
  userLine,
} from './protocol.ts';
import { causeOfStartError } from './start-error.ts';
import { StderrTail } from './stderr-tail.ts';
import { type CliTimeouts, timeoutsOf } from './timeouts.ts';
import type { TurnResult } from './turn-result.ts';
import type { UsageLimit } from './usage-limit.ts';

export interface ProcessOptions {
  /** The CLI's executable. */
  path: string;
  arguments: readonly string[];
  environment: Record<string, string>;
  workingDirectory: string;
  /** How long it may be silent; by default as its environment says. */
  timeouts?: CliTimeouts;
  /**
   * The session that it was started for. A process that claims another is ended: whoever runs under the
   * same uid can write to its output.
   */
  sessionId?: string;
  /** Called if it claims another session, with that one's id. */
  onForeignSession?: (claimed: string) => void;
  /** Milliseconds that its SessionEnd hooks may take; 0, the default, without any. */
  sessionEnd?: number;
  /** Called once if standard output has what is no message; says what, and quotes nothing of it. */
  onStray: (what: string) => void;
  /**
   * True if scheduled turns are not wanted: one that begins all the same is interrupted. Before its
   * first prompt a process has none at all.
   */
  deniesWakeUps?: boolean;
  /** Called with what the API says of the account's limit in a turn that nobody prompted for. */
  onLimit?: (limit: UsageLimit) => void;
  /** Called with the result of each turn that nobody prompted for: it has cost something too. */
  onUnprompted?: (result: TurnResult) => void;
}

export interface ProcessEnd {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  /** The last lines of standard error. */
  stderr: string;
}

/** The longest line read, in characters: an answer or a tool result stands in one line. */
const longestLine = 64 * 1024 * 1024;

/** Milliseconds after the exit in which what is left of the output may still arrive. */
const outputGrace = 500;

/** Milliseconds after the end of work in the background in which the CLI begins its report. */
const reportGrace = 10_000;

interface Turn {
  onMessage: (message: CliMessage) => void;
  resolve: (result: TurnResult) => void;
  reject: (error: BerthError) => void;
  /** Resolves when the turn has ended, however. */
  over: Promise<void>;
}

/** A result that may answer the prompt, or something else, or both. Its process is ended. */
export class UnclearResult extends BerthError {
  /** For what it has cost alone. */
  readonly result: TurnResult;

  constructor(result: TurnResult) {
    super(
      'worker_lost',
      'cannot finish the turn: the CLI mixed the prompt with a turn of its own; its tools may have done their work, so look before you go on with the session',
    );
    this.result = result;
  }
}

export class ClaudeProcess {
  /** Settles when the process has ended and its output is read; never rejects. */
  readonly ended: Promise<ProcessEnd>;
  /** What it reports of the things that it loads and runs. */
  readonly health = new CliHealth();
  /** Milliseconds that its SessionEnd hooks may take. */
  readonly sessionEnd: number;
  /** How long it may be silent. */
  readonly timeouts: CliTimeouts;
  readonly #child: ChildProcess;
  readonly #stderr = new StderrTail();
  readonly #controls = new Map<
    string,
    (error: BerthError | undefined, response?: unknown) => void
  >();
  readonly #onStray: (what: string) => void;
  readonly #onUnprompted: ProcessOptions['onUnprompted'];
  readonly #onLimit: ProcessOptions['onLimit'];
  readonly #deniesWakeUps: boolean;
  /** It has had a prompt that is not blank: until then its turns are nobody's. */
  #prompted = false;
  #background: readonly BackgroundTask[] = [];
  /** Until when, by performance.now(), the report of work that has ended may begin. */
  #reportDue = 0;
  /** A turn runs that nobody prompted for. */
  #ownTurn = false;
  readonly #sessionId: string | undefined;
  readonly #onForeignSession: ProcessOptions['onForeignSession'];
  readonly #attribution = new Attribution();
  #ownCommands: ReadonlySet<string> = new Set();
  #strayed = false;
  #givenUp = false;
  #lastOutput = performance.now();
  #turn: Turn | undefined;
  #end: ProcessEnd | undefined;
  /** Why there was never a process. */
  #refused: Error | undefined;
  #stopping: Promise<ProcessEnd> | undefined;

  constructor(options: ProcessOptions) {
    this.timeouts = options.timeouts ?? timeoutsOf(options.environment);
    this.#onStray = options.onStray;
    this.sessionEnd = options.sessionEnd ?? 0;
    this.#onUnprompted = options.onUnprompted;
    this.#onLimit = options.onLimit;
    this.#deniesWakeUps = options.deniesWakeUps ?? false;
    this.#sessionId = options.sessionId?.toLowerCase();
    this.#onForeignSession = options.onForeignSession;
    this.#child = spawn(options.path, options.arguments, {
      cwd: options.workingDirectory,
      env: options.environment,
      stdio: ['pipe', 'pipe', 'pipe'],
      // A group of its own: a signal meant for the supervisor does not reach it, and it can be
      // signalled with all its children.
      detached: true,
    });
    const { promise, resolve } = Promise.withResolvers<ProcessEnd>();
    this.ended = promise;
    const settle = (exitCode: number | null, signal: NodeJS.Signals | null): void => {
      if (this.#end) return;
      this.#end = { exitCode, signal, stderr: this.#stderr.text };
      // Whoever else still holds the other ends keeps nothing open here.
      for (const pipe of pipesOf(this.#child)) pipe?.destroy();
      this.#failAll();
      resolve(this.#end);
    };
    this.#child.once('error', (error) => {
      this.#stderr.add(messageOf(error));
      if (causeOfStartError(error) !== undefined) this.#refused = error;
      settle(null, null);
    });
    this.#child.once('close', settle);
    // A grandchild that kept a pipe open must not keep the end from being seen.
    this.#child.once('exit', (exitCode, signal) => {
      setTimeout(() => settle(exitCode, signal), outputGrace).unref();
    });
    // A write to a process that has just ended, say; its end says all there is to say.
    for (const pipe of pipesOf(this.#child)) pipe?.on('error', () => {});
    this.#child.stderr?.on('data', (chunk: Buffer) => this.#stderr.add(chunk.toString('utf8')));
    this.#child.stdout
      ?.pipe(split2((line: string) => this.#messageIn(line), { maxLength: longestLine }))
      .on('data', (message: CliMessage) => this.#take(message))
      .on('error', () => {
        this.#stray('a line that is too long');
        this.#giveUp('the CLI wrote a line that is too long');
      });
  }

  /** Undefined if it could not be started at all. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The last lines of standard error. */
  get stderr(): string {
    return this.#stderr.text;
  }

  get alive(): boolean {
    return this.#end === undefined;
  }

  /** Commands and skills of the user, as `initialize` has told them; none of the CLI's own. */
  get ownCommands(): ReadonlySet<string> {
    return this.#ownCommands;
  }

  /** True if it lives, can be talked to, and no turn of a prompt runs. */
  get idle(): boolean {
    return this.alive && !this.#givenUp && this.#turn === undefined;
  }

  /** What it has running in the background. */
  get background(): readonly BackgroundTask[] {
    return this.#background;
  }

  /** True if it works without a prompt: in the background, or in a turn of its own. */
  get works(): boolean {
    if (!this.alive) return false;
    return this.#ownTurn || this.#background.length > 0 || performance.now() < this.#reportDue;
  }

  /** When it last wrote a line of output, by performance.now(). */
  get lastOutput(): number {
    return this.#lastOutput;
  }

  /** Resolves when no turn runs, or after `milliseconds`; true if it then lives and is idle. */
  async idleWithin(milliseconds: number): Promise<boolean> {
    if (this.#turn) await within(this.#turn.over, milliseconds);
    return this.idle;
  }

  /**
   * Asks for something beside the turn, and waits for the acknowledgement.
   * @returns what the CLI answers
   * @throws BerthError `cli_unavailable` if the process ends first or refuses
   */
  control(request: ControlRequest): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#end) return reject(this.#endedError());
      const id = randomUUID();
      this.#controls.set(id, (error, response) => (error ? reject(error) : resolve(response)));
      this.#child.stdin?.write(controlLineOf(id, request));
    });
  }

  /**
   * Runs one prompt to its result. `onMessage` sees everything before the result, as it arrives;
   * nothing of a turn that the CLI runs unprompted.
   * @param promptId a UUID that was not used before; the CLI writes it into the transcript
   * @param asCommand the prompt begins with a command that is to be run; else it is nothing but text
   * @throws BerthError `worker_lost` if the process ends in the middle of it, `cli_unavailable` before
   */
  run(
    prompt: string,
    onMessage: (message: CliMessage) => void = () => {},
    promptId: string = randomUUID(),
    asCommand = false,
  ): Promise<TurnResult> {
    if (this.#end) return Promise.reject(this.#endedError());
    if (this.#turn) {
      return Promise.reject(
        new BerthError('internal', 'cannot run a prompt: a turn is running; wait'),
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<TurnResult>();
    const settled = (): undefined => undefined;
    const over = promise.then(settled, settled);
    this.#attribution.expect(promptId);
    this.#prompted ||= prompt.trim() !== '';
    this.#turn = { onMessage, resolve, reject, over };
    this.#child.stdin?.write(userLine(prompt, promptId, asCommand));
    return promise;
  }

  /** Ends the running turn; its `run` resolves with an error result soon after. */
  async interrupt(): Promise<void> {
    await this.control({ subtype: 'interrupt', cancel_queued: true });
  }

  /**
   * Ends the process and its group: end of input, then SIGTERM, then SIGKILL, each after `grace`
   * milliseconds. End of input alone would let a running turn go on, so then SIGTERM comes at once.
   * @param hooks milliseconds that its SessionEnd hooks may take after the end of input
   */
  stop(grace = 2_000, hooks = 0): Promise<ProcessEnd> {
    this.#stopping ??= this.#stop(grace, hooks);
    return this.#stopping;
  }

  async #stop(grace: number, hooks: number): Promise<ProcessEnd> {
    if (!this.#turn) {
      // The end of input alone would let a turn of its own go on; its result tells what it has cost.
      if (this.#ownTurn) {
        await within(this.control({ subtype: 'interrupt' }), grace).catch(() => undefined);
      }
      this.#child.stdin?.end();
      await within(this.ended, Math.max(grace, hooks));
    }
    if (this.alive) {
      this.#signal('SIGTERM');
      await within(this.ended, grace);
    }
    // Also after a clean end: children that stayed in the group.
    this.#signal('SIGKILL');
    return this.ended;
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.pid === undefined) return;
    try {
      process.kill(-this.pid, signal);
    } catch {
      // Nobody is left in the group.
    }
  }

  /** Undefined for a line that says nothing: most do, and go no further than this. */
  #messageIn(line: string): CliMessage | undefined {
    this.#lastOutput = performance.now();
    try {
      return readMessage(line);
    } catch (error) {
      // Text between the messages does no harm; a message of another shape could be the result that
      // somebody waits for.
      const foreign = !(error instanceof SyntaxError);
      this.#stray(foreign ? 'a message of another shape' : 'a line that is no JSON');
      if (foreign) {
        this.#giveUp('the CLI speaks another protocol than the one that was tested');
      }
      return undefined;
    }
  }

  #take(message: CliMessage): void {
    // What comes after that is not believed.
    if (this.#givenUp || this.#claimsOther(message)) return;
    const turn = this.#turn;
    this.#noteHealth(message);
    switch (message.kind) {
      case 'control':
        if (message.commands) this.#ownCommands = new Set(message.commands);
        this.#controls.get(message.requestId)?.(refusal(message.error), message.response);
        this.#controls.delete(message.requestId);
        break;
      case 'started':
        if (this.#attribution.started(message.promptId)) break;
        this.#ownTurn = true;
        if (this.#deniesWakeUps || !this.#prompted) {
          void this.control({ subtype: 'interrupt' }).catch(() => undefined);
        }
        break;
      case 'over':
        if (this.#attribution.ended(message.promptId) && turn) this.#drop(turn);
        break;
      case 'result':
        this.#takeResult(message.result);
        break;
      case 'background':
        if (message.tasks.length < this.#background.length) {
          this.#reportDue = performance.now() + reportGrace;
        }
        this.#background = message.tasks;
        break;
      default:
        if (!this.#attribution.begun) this.#hearOwnTurn(message);
        if (this.#attribution.begun) turn?.onMessage(message);
    }
  }

  #hearOwnTurn(message: CliMessage): void {
    if (message.kind === 'session') this.#ownTurn = true;
    if (message.kind === 'limit') this.#onLimit?.(message.limit);
  }

  #claimsOther(message: CliMessage): boolean {
    const claimed =
      message.kind === 'session'
        ? message.sessionId
        : message.kind === 'result'
          ? message.result.sessionId
          : undefined;
    if (claimed === undefined || this.#sessionId === undefined) return false;
    if (claimed.toLowerCase() === this.#sessionId) return false;
    this.#onForeignSession?.(claimed);
    this.#giveUp('the output of the CLI claimed a session that is not its own');
    return true;
  }

  #takeResult(result: TurnResult): void {
    const turn = this.#turn;
    this.#ownTurn = false;
    this.#reportDue = 0;
    switch (this.#attribution.ownerOf(result)) {
      case 'prompt':
        this.#turn = undefined;
        turn?.resolve(result);
        break;
      case 'nobody':
        this.#onUnprompted?.(result);
        break;
      case 'unknown':
        this.#turn = undefined;
        turn?.reject(new UnclearResult(result));
        this.#stray('a result that does not say for sure which prompt it answers');
        this.#giveUp('a result of the CLI could not be attributed to its prompt');
    }
  }

  /** The prompt was taken out of the CLI's queue before it began, by an interrupt for example. */
  #drop(turn: Turn): void {
    this.#turn = undefined;
    turn.reject(
      new BerthError('cli_unavailable', 'cannot run the prompt: the CLI dropped it; try again'),
    );
  }

  /** Also outside of turns: hooks run at the start, and before a prompt. */
  #noteHealth(message: CliMessage): void {
    if (message.kind === 'started') this.health.turnBegins();
    if (message.kind === 'session') this.health.loaded(message.loaded);
    if (message.kind === 'hook') this.health.hookEnded(message.hook);
  }

  /** It cannot be talked to: no more is to be had of it. */
  #giveUp(why: string): void {
    this.#stderr.add(`berth: ${why}\n`);
    this.#givenUp = true;
    this.#signal('SIGKILL');
  }

  #stray(what: string): void {
    if (!this.#strayed) this.#onStray(what);
    this.#strayed = true;
  }

  #failAll(): void {
    const error = this.#endedError();
    this.#turn?.reject(this.#attribution.begun ? this.#lostError() : error);
    this.#turn = undefined;
    for (const settle of this.#controls.values()) settle(error);
    this.#controls.clear();
  }

  #endedError(): BerthError {
    return new BerthError(
      'cli_unavailable',
      this.#refused === undefined
        ? `cannot use the CLI: it ${this.#howItEnded()}; try again`
        : `cannot start the CLI: ${causeOfStartError(this.#refused)}`,
      { cause: this.#refused, details: this.#endDetails() },
    );
  }

  #lostError(): BerthError {
    return new BerthError(
      'worker_lost',
      `cannot finish the turn: the CLI ${this.#howItEnded()}; its tools may have done their work, so look before you go on with the session`,
      { details: this.#endDetails() },
    );
  }

  #howItEnded(): string {
    const { exitCode, signal, stderr } = this.#end ?? { exitCode: null, signal: null, stderr: '' };
    const how = signal ? `was ended by ${signal}` : `ended with exit code ${exitCode}`;
    return stderr ? `${how} (${stderr})` : how;
  }

  #endDetails(): Record<string, unknown> {
    const { exitCode = null, signal = null } = this.#end ?? {};
    return { exit_code: exitCode, signal, ...(this.#givenUp ? { killed: true } : {}) };
  }
}

/** None without descriptors for them (EMFILE), whatever the type says. */
function pipesOf({ stdio }: ChildProcess): readonly (Readable | Writable | null | undefined)[] {
  return (stdio as ChildProcess['stdio'] | undefined) ?? [];
}

function refusal(error: string | undefined): BerthError | undefined {
  if (error === undefined) return undefined;
  return new BerthError(
    'cli_unavailable',
    `cannot control the CLI: it answered ${JSON.stringify(error)}; check its version`,
  );
}
