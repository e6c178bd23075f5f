/**
 * Prompts that run or wait, and how they end: with an answer or an error that says what happened.
 * Always holds: each prompt ends within its time-out; one whose caller has gone is interrupted; what it
 * cost is counted, and how it ended is logged, once.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { formatDuration } from '../../shared/units.ts';
import type { RunningSessions, SessionState } from '../sessions/catalog.ts';
import type { Answer } from './answer.ts';
import type { Progress } from './progress.ts';
import type { Prompt } from './prompt.ts';
import { type AttemptOptions, PromptRun } from './prompt-run.ts';
import { RunningTurns } from './running-turns.ts';
import { traceIdOf } from './traceparent.ts';
import type { TurnEvent } from './turn.ts';

export interface SessionsOptions extends Omit<AttemptOptions, 'turns'> {
  log: Log;
  /** Told of each prompt that has ended: `ok` or the error's code, its time in ms, and the answer if any. */
  onFinished: (prompt: Prompt, outcome: string, milliseconds: number, answer?: Answer) => void;
}

export class Sessions implements RunningSessions {
  readonly #options: SessionsOptions;
  readonly #running = new Map<AbortController, { answer: Promise<Answer>; run: PromptRun }>();
  readonly #turns = new RunningTurns();

  constructor(options: SessionsOptions) {
    this.#options = options;
  }

  /** Prompts that run or wait. */
  get running(): number {
    return this.#running.size;
  }

  /** Resolves when no prompt runs or waits, after `milliseconds` at most, or when `now` aborts. */
  async idle(milliseconds: number, now?: AbortSignal): Promise<void> {
    const over = new AbortController();
    const signals = [over.signal, ...(now ? [now] : [])];
    const timer = delay(milliseconds, undefined, { signal: AbortSignal.any(signals) });
    const prompts = Promise.allSettled([...this.#running.values()].map(({ answer }) => answer));
    await Promise.race([prompts, timer.catch(() => undefined)]);
    over.abort();
  }

  /** Interrupts all prompts that run or wait; each `run` rejects with `reason`. */
  interruptAll(reason: BerthError): void {
    for (const ending of this.#running.keys()) ending.abort(reason);
  }

  /** Ends those that wait for the end of a limit; each `run` rejects with `reason`. */
  refuseWaiting(reason: BerthError): void {
    for (const [ending, { run }] of this.#running) if (run.waits) ending.abort(reason);
  }

  stateOf(id: string): SessionState {
    // A turn that is carried on has no process for a while.
    if (this.#turns.of(id)) return 'busy';
    const state = this.#options.pool.stateOf(id);
    if (state === undefined) return 'stored';
    return state === 'busy' || state === 'starting' ? 'busy' : 'idle';
  }

  interrupt(id: string, reason: BerthError): boolean {
    const turn = this.#turns.of(id);
    turn?.interrupt(reason);
    return turn !== undefined;
  }

  async endSession(id: string, reason: BerthError): Promise<void> {
    do {
      const turn = this.#turns.of(id);
      turn?.interrupt(reason);
      await this.#options.pool.endSession(id, reason);
      await turn?.over;
    } while (this.#turns.of(id) || this.#options.pool.stateOf(id) !== undefined);
  }

  /**
   * Runs one prompt to its answer.
   * @param caller aborts when the caller has gone, or with a BerthError that says why it may not go on
   * @throws BerthError with the session id in its details, if it got that far
   */
  async run(
    prompt: Prompt,
    caller: AbortSignal,
    tell: (event: TurnEvent) => void,
  ): Promise<Answer> {
    const ending = new AbortController();
    const timer = setTimeout(() => ending.abort(timedOut(prompt.timeout)), prompt.timeout);
    const leave = (): void => ending.abort(whyNotOn(caller));
    caller.addEventListener('abort', leave, { once: true });
    if (caller.aborted) leave();
    const { run, answer } = this.#runLogged(prompt, ending.signal, tell);
    this.#running.set(ending, { run, answer });
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
      caller.removeEventListener('abort', leave);
      this.#running.delete(ending);
    }
  }

  #runLogged(
    prompt: Prompt,
    signal: AbortSignal,
    tell: (event: TurnEvent) => void,
  ): { run: PromptRun; answer: Promise<Answer> } {
    const id = `prompt_${randomUUID()}`;
    const { token, profile } = prompt;
    const ids = { prompt_id: id, token, profile: profile.name, ...traceOf(prompt) };
    const log = this.#options.log.child(ids);
    const run = new PromptRun({ ...this.#options, turns: this.#turns, log }, id, prompt);
    const finish = (outcome: Answer | BerthError): Answer => {
      this.#finished(log, prompt, run.progress, outcome);
      if (outcome instanceof BerthError) throw outcome;
      return outcome;
    };
    const answer = run.toAnswer(signal, tell).catch(asBerthError).then(finish);
    return { run, answer };
  }

  #finished(log: Log, prompt: Prompt, progress: Progress, outcome: Answer | BerthError): void {
    const duration = performance.now() - progress.accepted;
    const figures = {
      duration_ms: Math.round(duration),
      queued_ms: Math.round(progress.queuedMs),
      recycled: progress.recycled,
    };
    if (outcome instanceof BerthError) {
      this.#options.onFinished(prompt, outcome.code, duration);
      const level = outcome.code === 'internal' ? 'error' : 'warn';
      const { session_id, cost_usd, usage, hook } = outcome.details;
      log[level]('turn_finished', `not answered: ${outcome.code}`, {
        code: outcome.code,
        session_id,
        ...figures,
        cost_usd,
        // Its reason may quote the prompt.
        hook: (hook as { name?: string } | undefined)?.name,
        ...(usage as object | undefined),
        ...(level === 'error' ? { error: outcome } : {}),
      });
      return;
    }
    this.#options.onFinished(prompt, 'ok', duration, outcome);
    const { session_id, num_turns, cost_usd, ttft_ms, usage } = outcome;
    const result = { session_id, num_turns, cost_usd, ttft_ms, ...usage };
    log.info('turn_finished', 'answered', { ...figures, ...result });
  }
}

function timedOut(timeout: number): BerthError {
  return new BerthError(
    'prompt_timeout',
    `cannot answer the prompt within ${formatDuration(timeout)}: its time is up; give it more with "timeout", or raise BERTH_PROMPT_TIMEOUT`,
  );
}

function traceOf({ traceparent }: Prompt): { trace_id?: string } {
  return traceparent === undefined ? {} : { trace_id: traceIdOf(traceparent) };
}

function whyNotOn({ reason }: AbortSignal): BerthError {
  if (reason instanceof BerthError) return reason;
  return new BerthError(
    'interrupted',
    'cannot answer the prompt: the caller closed the connection',
  );
}
