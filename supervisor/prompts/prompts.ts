/**
 * Runs a prompt from its acceptance to its answer or its error.
 * Invariants: each prompt ends within its time limit; a prompt whose caller has disconnected is
 * interrupted; the end of each prompt is counted and logged once. A prompt that was not sent does not count as started.
 * No prompt runs before the CLI has passed its self-test: until then prompts wait, within their time limit.
 */
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { formatDuration } from '../../shared/units.ts';
import type { TakeBack } from '../spending/shared-rate.ts';
import type { Admission } from './admission.ts';
import type { Answer } from './answer.ts';
import type { LivePrompt, LivePrompts } from './live-prompts.ts';
import { type Prompt, traceIdOf } from './prompt.ts';
import { PromptRun, type PromptRunOptions } from './prompt-run.ts';
import type { TurnEvent } from './turn.ts';

export interface RunsPrompts {
  /**
   * Runs one prompt to its answer.
   * @param caller aborts when the caller has disconnected, or with a BerthError that is the reason
   * to end the prompt
   * @throws BerthError with the session id in its details, if the prompt already had a session
   */
  run(prompt: Prompt, caller: AbortSignal, emit: (event: TurnEvent) => void): Promise<Answer>;
}

export interface PromptsOptions extends PromptRunOptions {
  admission: Pick<Admission, 'check' | 'checkState' | 'checkQuota' | 'startRefusalOf'>;
  live: LivePrompts;
  /** Resolves when the CLI has passed its self-test. Rejects with the error of the prompt, or the signal's reason. */
  cliPassed: (signal: AbortSignal) => Promise<void>;
  /**
   * Called for each prompt that has ended.
   * @param outcome `ok`, or the code of the error
   */
  onFinished: (prompt: Prompt, outcome: string, milliseconds: number, answer?: Answer) => void;
}

export class Prompts implements RunsPrompts {
  readonly #options: PromptsOptions;

  constructor(options: PromptsOptions) {
    this.#options = options;
  }

  async run(
    prompt: Prompt,
    caller: AbortSignal,
    emit: (event: TurnEvent) => void,
  ): Promise<Answer> {
    // It is known before it is counted, so that the end of its session finds it.
    const live = this.#options.live.accept(prompt);
    const { admission } = this.#options;
    let refusal: BerthError | undefined;
    let takeBack: TakeBack | undefined;
    try {
      admission.checkState(prompt);
      refusal = await admission.startRefusalOf(prompt);
      if (!refusal) takeBack = await admission.check(prompt);
    } catch (error) {
      this.#options.live.end(live);
      throw error;
    }
    const log = this.#options.log.child(logFields(live));
    live.limitTime(() => timedOut(prompt));
    const leave = (): void => live.interrupt(reasonOf(caller));
    caller.addEventListener('abort', leave, { once: true });
    if (caller.aborted) leave();
    try {
      if (refusal) throw refusal;
      await this.#options.cliPassed(live.signal);
      const answer = await new PromptRun({ ...this.#options, log }, live, emit).toAnswer();
      this.#answered(log, live, answer);
      return answer;
    } catch (thrown) {
      const error = asBerthError(thrown);
      this.#failed(log, live, error);
      throw error;
    } finally {
      caller.removeEventListener('abort', leave);
      if (!live.isSent) takeBack?.();
      this.#options.live.end(live);
    }
  }

  #answered(log: Log, live: LivePrompt, answer: Answer): void {
    const duration = performance.now() - live.acceptedAt;
    this.#options.onFinished(live.prompt, 'ok', duration, answer);
    const { session_id, num_turns, cost_usd, ttft_ms, usage } = answer;
    const result = { session_id, num_turns, cost_usd, ttft_ms, ...usage };
    log.info('turn_finished', 'answered', { ...figuresOf(live, duration), ...result });
  }

  #failed(log: Log, live: LivePrompt, error: BerthError): void {
    const duration = performance.now() - live.acceptedAt;
    this.#options.onFinished(live.prompt, error.code, duration);
    const level = levelOf(error);
    const { session_id, cost_usd, usage, hook } = error.details;
    log[level]('turn_finished', `not answered: ${error.code}`, {
      code: error.code,
      session_id,
      ...figuresOf(live, duration),
      cost_usd,
      // The reason that the hook gave may quote the prompt.
      hook: (hook as { name?: string } | undefined)?.name,
      ...(usage as object | undefined),
      ...(level === 'error' ? { error } : {}),
    });
  }
}

/** A turn that waits for an approval, and is given up, has not failed. */
function levelOf({ code }: BerthError): 'error' | 'info' | 'warn' {
  if (code === 'internal') return 'error';
  return code === 'approval_pending' ? 'info' : 'warn';
}

function logFields({ id, prompt: { token, profile, traceparent } }: LivePrompt) {
  const trace = traceparent === undefined ? {} : { trace_id: traceIdOf(traceparent) };
  return { prompt_id: id, token, profile: profile.name, ...trace };
}

function figuresOf({ queuedMs, recycled }: LivePrompt, duration: number) {
  return { duration_ms: Math.round(duration), queued_ms: Math.round(queuedMs), recycled };
}

function timedOut({ timeout, lane = 'interactive' }: Prompt): BerthError {
  const setting = lane === 'interactive' ? 'BERTH_PROMPT_TIMEOUT' : 'BERTH_JOB_TIMEOUT';
  return new BerthError(
    'prompt_timeout',
    `cannot answer the prompt within ${formatDuration(timeout)}: the time limit is reached; set a longer "timeout", or raise ${setting}`,
  );
}

function reasonOf({ reason }: AbortSignal): BerthError {
  if (reason instanceof BerthError) return reason;
  return new BerthError(
    'interrupted',
    'cannot answer the prompt: the caller closed the connection',
  );
}
