/**
 * The prompts under way, from their acceptance to their answer. `LivePrompt` is one prompt: an id, one
 * AbortController, one state, one time limit (`PromptDeadline`) and the sessions that its turn serves. `LivePrompts`
 * is the registry of them: the pause, revoked tokens, a lost login, the drain and the sessions use it.
 * Invariants: the state changes only in `become`, along the table below. A prompt is in the registry until it
 * has ended, and no other part keeps a list of prompts. The first reason to interrupt a prompt stays.
 */
import { randomUUID } from 'node:crypto';
import { BerthError } from '../../shared/errors.ts';
import { within } from '../../shared/waiting.ts';
import type { LossReason } from './lost-turn.ts';
import type { Prompt } from './prompt.ts';

/** The states of a prompt, and which states may follow each of them. */
export const promptTransitions = {
  /** The prompt was accepted and has requested nothing yet, or waits for the self-test of the CLI. */
  accepted: ['limited', 'queued', 'ended'],
  /** The prompt waits for the end of an account's limit. */
  limited: ['limited', 'queued', 'ended'],
  /** The prompt waits for a worker, then for the worker's MCP servers and for a valid login. */
  queued: ['limited', 'queued', 'sent', 'ended'],
  /** A worker has the prompt. The CLI has not reported the session yet. */
  sent: ['running', 'recovering', 'ended'],
  /** The CLI has reported the session of the turn. */
  running: ['running', 'recovering', 'ended'],
  /** The worker was lost. The prompt waits until all processes of that worker have ended. */
  recovering: ['limited', 'queued', 'ended'],
  /** The prompt has its answer or its error. */
  ended: [],
} as const satisfies Record<string, readonly string[]>;

export type PromptState = keyof typeof promptTransitions;

/** The states that count for the time limit of a job: prompts of callers may keep a job waiting for hours. */
const workingStates: readonly PromptState[] = ['sent', 'running', 'recovering'];

export class LivePrompt {
  readonly id = `prompt_${randomUUID()}`;
  readonly prompt: Prompt;
  /** By performance.now(). */
  readonly acceptedAt = performance.now();
  /** Resolves when the prompt has ended. */
  readonly over: Promise<void>;
  /** Milliseconds that the prompt has waited for workers, in sum. */
  queuedMs = 0;
  /** How often the turn was continued in a new process, and why the last time. */
  recycled = 0;
  recycleReason: LossReason | null = null;
  /** Whether a process was sent the prompt. */
  isSent = false;
  readonly #ending = new AbortController();
  readonly #sessions = new Set<string>();
  readonly #resolveOver: () => void;
  #state: PromptState = 'accepted';
  #deadline: PromptDeadline | undefined;
  #begun = false;

  constructor(prompt: Prompt) {
    this.prompt = prompt;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.over = promise;
    this.#resolveOver = resolve;
  }

  get state(): PromptState {
    return this.#state;
  }

  /** Whether the CLI has begun to work on the prompt, in this process or in a lost one. */
  get begun(): boolean {
    return this.#begun;
  }

  /** Undefined before `limitTime`. */
  get deadline(): PromptDeadline | undefined {
    return this.#deadline;
  }

  /** Aborts when the prompt is to end early, with the BerthError that its caller gets. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** @throws BerthError `internal` if the table above does not allow the state */
  become(state: PromptState): void {
    const allowed: readonly PromptState[] = promptTransitions[this.#state];
    if (!allowed.includes(state)) {
      throw new BerthError(
        'internal',
        `cannot make ${this.id} ${state}: it is ${this.#state}; this is a bug in berth, please report it`,
      );
    }
    this.#state = state;
    if (state === 'running') this.#begun = true;
    this.#countTime();
    if (state === 'ended') this.#resolveOver();
  }

  /** Interrupts the prompt at its time limit, which counts from now on; for a job, only while it has a worker. */
  limitTime(reason: () => BerthError): void {
    this.#deadline = new PromptDeadline(this.prompt.timeout, () => this.interrupt(reason()));
    this.#countTime();
  }

  /** Ends the prompt early. A prompt that was interrupted keeps its first reason. */
  interrupt(reason: BerthError): void {
    this.#ending.abort(reason);
  }

  /**
   * Gives the prompt its profile as it is now. Call it while the prompt waits.
   * @returns whether the profile was loaded again
   * @throws BerthError as `PromptResolver.resolve`, if the profile no longer allows the prompt
   */
  renew(): boolean {
    const renewed = this.prompt.renewed?.();
    if (renewed) Object.assign(this.prompt, renewed);
    return renewed !== undefined;
  }

  #countTime(): void {
    const { lane = 'interactive' } = this.prompt;
    if (this.#state === 'ended') this.#deadline?.stop();
    else if (lane === 'interactive') return;
    else if (workingStates.includes(this.#state)) this.#deadline?.resume();
    else this.#deadline?.pause();
  }

  /** Notes a session that the turn serves. A turn can serve two: the command `/clear` begins another. */
  serve(sessionId: string): void {
    this.#sessions.add(sessionId);
  }

  serves(sessionId: string): boolean {
    return this.#sessions.has(sessionId);
  }
}

/**
 * The time limit of a prompt. The waits of a job for a worker and for an approval do not count.
 * Invariant: `onOver` is called once at most, and never after `stop`.
 */
class PromptDeadline {
  readonly #onOver: () => void;
  #left: number;
  #since = performance.now();
  #timer: NodeJS.Timeout | undefined;

  /** @param milliseconds until `onOver` is called */
  constructor(milliseconds: number, onOver: () => void) {
    this.#left = milliseconds;
    this.#onOver = onOver;
    this.resume();
  }

  /** Milliseconds that are left. */
  get left(): number {
    return this.#timer ? this.#left - (performance.now() - this.#since) : this.#left;
  }

  pause(): void {
    if (!this.#timer) return;
    this.#left = Math.max(0, this.left);
    this.stop();
  }

  resume(): void {
    if (this.#timer) return;
    this.#since = performance.now();
    this.#timer = setTimeout(this.#onOver, this.#left);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

export class LivePrompts {
  /** In the order of their acceptance. */
  readonly #prompts = new Set<LivePrompt>();

  get size(): number {
    return this.#prompts.size;
  }

  /** How many prompts are in that state. */
  count(state: PromptState): number {
    return [...this.#prompts].filter((live) => live.state === state).length;
  }

  accept(prompt: Prompt): LivePrompt {
    const live = new LivePrompt(prompt);
    this.#prompts.add(live);
    return live;
  }

  end(live: LivePrompt): void {
    this.#prompts.delete(live);
    live.become('ended');
  }

  /** The prompt whose turn serves that session. While one turn ends, the next one may have begun. */
  of(sessionId: string): LivePrompt | undefined {
    return [...this.#prompts].findLast((live) => live.serves(sessionId));
  }

  /** Whether a prompt works in that session, or waits to work there. */
  use(sessionId: string): boolean {
    return this.using(sessionId).length > 0;
  }

  /** The prompts that work in that session, or wait to work there, in whatever state. */
  using(sessionId: string): LivePrompt[] {
    return [...this.#prompts].filter((live) => {
      const { record, fork } = live.prompt;
      return live.serves(sessionId) || (!fork && record?.id === sessionId);
    });
  }

  /**
   * Interrupts prompts.
   * @param reasonFor the error with which a prompt is to end; undefined if the prompt may continue
   */
  interrupt(reasonFor: (live: LivePrompt) => BerthError | undefined): void {
    for (const live of this.#prompts) {
      const reason = reasonFor(live);
      if (reason) live.interrupt(reason);
    }
  }

  /**
   * Resolves when all prompts of this moment have ended, after `milliseconds` at most, or when `now` aborts.
   */
  async idle(milliseconds: number, now?: AbortSignal): Promise<void> {
    await within(Promise.all([...this.#prompts].map(({ over }) => over)), milliseconds, now);
  }
}
