/**
 * One CLI process in stream-json mode: it runs turns, takes control requests, is interrupted and ended.
 * Invariants: one turn at a time (the CLI merges prompts that arrive during a turn); every promise settles when
 * the process ends; after `stop` its process group has no process left.
 */
import { randomUUID } from 'node:crypto';
import { asBerthError, BerthError } from '../../shared/errors.ts';
import { within } from '../../shared/waiting.ts';
import type { BackgroundTask } from './background.ts';
import { CliChild, type ProcessEnd } from './child.ts';
import { CliHealth } from './cli-health.ts';
import { ControlRequests } from './control-requests.ts';
import { notGranted, type PermissionAnswer, permissionLine } from './permission.ts';
import { type Ended, endedError, lostError } from './process-errors.ts';
import type { ProcessOptions } from './process-options.ts';
import { PromptTurn } from './prompt-turn.ts';
import {
  type CliMessage,
  type ControlRequest,
  controlLineOf,
  limitIn,
  type PromptContent,
  toolHookAnswer,
  userLine,
} from './protocol.ts';
import { type CliTimeouts, timeoutsOf } from './timeouts.ts';
import { TrustedOutput } from './trusted-output.ts';
import type { TurnResult } from './turn-result.ts';
import { UnpromptedActivity } from './unprompted-activity.ts';

export class ClaudeProcess {
  /** What the process reports about the things that it loads and runs. */
  readonly health = new CliHealth();
  /** The commit of the configuration that the process has read; undefined if it is unknown. */
  readonly configCommit: string | undefined;
  /** Milliseconds for its SessionEnd hooks. */
  readonly sessionEnd: number;
  /** How long the process may be silent. */
  readonly timeouts: CliTimeouts;
  readonly #options: ProcessOptions;
  readonly #child: CliChild<CliMessage>;
  readonly #controls = new ControlRequests();
  readonly #output: TrustedOutput;
  readonly #turn = new PromptTurn();
  readonly #unprompted = new UnpromptedActivity();
  readonly #sessionId: string | undefined;
  #ownCommands: ReadonlySet<string> = new Set();
  /** Why a tool must not be used; undefined if it may. */
  #judgeTool: (tool: string | undefined) => string | undefined = () => undefined;
  /** Whether the process has had a prompt that is not blank. */
  #prompted = false;
  #stopping: Promise<ProcessEnd> | undefined;

  constructor(options: ProcessOptions) {
    this.#options = options;
    this.timeouts = options.timeouts ?? timeoutsOf(options.environment);
    this.sessionEnd = options.sessionEnd ?? 0;
    this.#sessionId = options.sessionId?.toLowerCase();
    this.configCommit = options.configCommit;
    const { path, arguments: flags, environment, workingDirectory } = options;
    this.#output = new TrustedOutput({
      sessionId: this.#sessionId,
      onStray: options.onStray,
      onForeignSession: options.onForeignSession,
      kill: (why) => {
        this.#child.stderr.add(`berth: ${why}\n`);
        this.#child.signal('SIGKILL');
      },
    });
    this.#child = new CliChild({
      ...{ path, arguments: flags, environment, workingDirectory },
      read: (line) => this.#output.read(line),
      onMessage: (message) => this.#take(message),
      onFailure: (error) => {
        // The turn fails with its own error, so it is not run again as after a lost process.
        this.#turn.reject(asBerthError(error));
        this.#output.giveUp('a message of the CLI could not be handled');
      },
      onLongLine: () => {
        this.#output.stray('a line that is too long');
        this.#output.giveUp('the CLI wrote a line that is too long');
      },
      onEnd: () => this.#failAll(),
    });
  }

  /** The session that the process was started for. The CLI may write it in another case. */
  get sessionId(): string | undefined {
    return this.#sessionId;
  }

  /** Resolves when the process has ended and its output was read; never rejects. */
  get ended(): Promise<ProcessEnd> {
    return this.#child.ended;
  }

  /** Undefined if the process could not be started. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The last lines of standard error. */
  get stderr(): string {
    return this.#child.stderr.text;
  }

  get alive(): boolean {
    return this.#child.end === undefined;
  }

  /** Commands and skills of the user, as `initialize` has reported them; none of the CLI's own. */
  get ownCommands(): ReadonlySet<string> {
    return this.#ownCommands;
  }

  /** Whether the process lives, can take a prompt, and runs no turn of a prompt. */
  get idle(): boolean {
    return this.alive && !this.#output.givenUp && !this.#turn.running;
  }

  /** The background tasks that run. */
  get background(): readonly BackgroundTask[] {
    return this.#unprompted.tasks;
  }

  /**
   * Whether the process works without a prompt: in the background, or in a turn without a prompt.
   */
  get works(): boolean {
    return this.alive && this.#unprompted.active;
  }

  /** Whether a turn without a prompt runs, or the report of an ended task is to come. */
  get reporting(): boolean {
    return this.alive && this.#unprompted.reporting;
  }

  /** When the process last wrote a line of output, by performance.now(). */
  get lastOutput(): number {
    return this.#output.lastLine;
  }

  /** Resolves when no turn runs, or after `milliseconds`; true if the process then lives and is idle. */
  async idleWithin(milliseconds: number): Promise<boolean> {
    await this.#turn.overWithin(milliseconds);
    return this.idle;
  }

  /**
   * Sends a control request, also during a turn, and waits for the acknowledgement.
   * @returns the response of the CLI
   * @throws BerthError `cli_unavailable` if the process ends first or refuses
   */
  async control(request: ControlRequest): Promise<unknown> {
    if (!this.alive) throw endedError(this.#ended);
    const { id, response } = this.#controls.begin();
    this.#child.write(controlLineOf(id, request));
    return response;
  }

  /** Sets who decides about each use of a tool, after `initialize` with `toolHook`. */
  judgeToolsBy(judge: (tool: string | undefined) => string | undefined): void {
    this.#judgeTool = judge;
  }

  /** Answers a question about a call of a tool. Nothing happens if the process has ended. */
  answerPermission(requestId: string, answer: PermissionAnswer): void {
    if (this.alive) this.#child.write(permissionLine(requestId, answer));
  }

  /**
   * Runs one prompt to its result. `onMessage` gets each message before the result as it arrives, and none of
   * a turn that the CLI runs without a prompt.
   * @param promptId a UUID that was not used before; the CLI writes it into the transcript
   * @param asCommand whether the prompt begins with a command to run; else the prompt is plain text
   * @throws BerthError `worker_lost` if the process ends during the turn, `cli_unavailable` before
   */
  run(
    prompt: PromptContent,
    onMessage: (message: CliMessage) => void = () => {},
    promptId: string = randomUUID(),
    asCommand = false,
  ): Promise<TurnResult> {
    if (!this.alive) return Promise.reject(endedError(this.#ended));
    if (this.#turn.running) {
      return Promise.reject(
        new BerthError('internal', 'cannot run a prompt: a turn is running; wait'),
      );
    }
    const result = this.#turn.begin(promptId, onMessage);
    this.#prompted ||= typeof prompt !== 'string' || prompt.trim() !== '';
    this.#child.write(userLine(prompt, promptId, asCommand));
    return result;
  }

  /** Ends the running turn; its `run` resolves with an error result soon after. */
  async interrupt(): Promise<void> {
    await this.control({ subtype: 'interrupt', cancel_queued: true });
  }

  /**
   * Ends the process and its group: end of input, then SIGTERM, then SIGKILL, each after `grace` milliseconds.
   * The end of input does not end a running turn; then SIGTERM comes at once.
   * @param hooks milliseconds that the SessionEnd hooks may take after the end of input
   */
  stop(grace = 2_000, hooks = 0): Promise<ProcessEnd> {
    this.#stopping ??= this.#stop(grace, hooks);
    return this.#stopping;
  }

  async #stop(grace: number, hooks: number): Promise<ProcessEnd> {
    if (!this.#turn.running) {
      // The end of input does not end a turn of the CLI's own either. Its result reports what it has cost.
      if (this.#unprompted.inTurn) {
        await within(this.control({ subtype: 'interrupt' }), grace).catch(() => undefined);
      }
      this.#child.closeInput();
      await within(this.ended, Math.max(grace, hooks));
    }
    return this.terminate(grace);
  }

  /**
   * Ends the process and its group, also while `stop` waits: SIGTERM, and SIGKILL after `grace` milliseconds.
   */
  async terminate(grace: number): Promise<ProcessEnd> {
    if (this.alive) {
      this.#child.signal('SIGTERM');
      await within(this.ended, grace);
    }
    // Also after a clean end: children may have stayed in the group.
    this.#child.signal('SIGKILL');
    return this.ended;
  }

  #take(message: CliMessage): void {
    if (!this.#output.trusts(message)) return;
    this.#noteHealth(message);
    switch (message.kind) {
      case 'control':
        if (message.commands) this.#ownCommands = new Set(message.commands);
        this.#controls.settle(message.requestId, message.error, message.response);
        break;
      case 'tool_hook':
        this.#child.write(toolHookAnswer(message.requestId, this.#judgeTool(message.tool)));
        break;
      case 'permission':
        // Nobody waits for a turn without a prompt.
        if (this.#turn.running && this.#turn.begun) this.#turn.pass(message);
        else this.answerPermission(message.ask.requestId, notGranted(message.ask.tool));
        break;
      case 'started':
        if (!this.#turn.started(message.promptId)) this.#ownTurnBegins();
        break;
      case 'over':
        this.#turn.ended(message.promptId);
        break;
      case 'result':
        this.#takeResult(message.result);
        break;
      case 'background':
        this.#unprompted.tasksChange(message.tasks);
        break;
      default: {
        if (this.#turn.begun) {
          this.#turn.pass(message);
          break;
        }
        if (message.kind === 'session') this.#noteOwnTurn();
        const limit = limitIn(message);
        if (limit) {
          // For example of a background agent.
          if (!this.#unprompted.inTurn) this.#options.onUnpromptedBegin?.();
          this.#options.onLimit?.(limit);
        }
      }
    }
  }

  #noteOwnTurn(): void {
    if (!this.#unprompted.inTurn) this.#options.onUnpromptedBegin?.();
    this.#unprompted.turnBegins();
  }

  #ownTurnBegins(): void {
    this.#noteOwnTurn();
    if (!this.#options.deniesWakeUps && this.#prompted) return;
    void this.control({ subtype: 'interrupt' }).catch(() => undefined);
  }

  #takeResult(result: TurnResult): void {
    this.#unprompted.turnEnds();
    const owner = this.#turn.takeResult(result);
    if (owner === 'nobody') this.#options.onUnprompted?.(result);
    if (owner === 'unknown') {
      this.#output.stray('a result that does not clearly name its prompt');
      this.#output.giveUp('a result of the CLI could not be attributed to its prompt');
    }
  }

  /** Also outside of turns: hooks run at the start, and before a prompt. */
  #noteHealth(message: CliMessage): void {
    if (message.kind === 'started') this.health.turnBegins();
    if (message.kind === 'session') this.health.loaded(message.loaded);
    if (message.kind === 'hook') this.health.hookEnded(message.hook);
  }

  #failAll(): void {
    const error = endedError(this.#ended);
    this.#turn.fail(this.#turn.begun ? lostError(this.#ended) : error);
    this.#controls.failAll(error);
  }

  get #ended(): Ended {
    const { end, refused } = this.#child;
    return { end, refused, givenUp: this.#output.givenUp };
  }
}
