/**
 * Conversations and their turns: takes a prompt, finds it a worker, runs the turn, tells the answer.
 * Always holds: a worker that was acquired is released, whatever happens; a turn whose caller has
 * gone or whose time is up is interrupted; a session is continued only by the token that began it,
 * and can be continued by it as soon as its id was told.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { formatDuration } from '../../shared/units.ts';
import type { Pool } from '../pool/pool.ts';
import type { Worker } from '../pool/worker.ts';
import { type Answer, toAnswer } from './answer.ts';
import type { RunningSessions, SessionState } from './catalog.ts';
import { failureOf } from './outcome.ts';
import { RecordKeeper } from './record-keeper.ts';
import { RunningTurns } from './running-turns.ts';
import type { SessionRecord } from './session-record.ts';
import type { SessionStore } from './session-store.ts';
import { runTurn, type TurnEvent } from './turn.ts';
import type { WorkingDirectory } from './workspaces.ts';

export interface Prompt {
  text: string;
  /** The session to continue; absent begins one. */
  sessionId: string | undefined;
  /** Milliseconds from acceptance to the answer at most. */
  timeout: number;
  /** The name of the caller's token. */
  token: string;
}

export interface SessionsOptions {
  pool: Pool;
  store: SessionStore;
  /** The directory of a worker, which belongs to the session that it serves from now on. */
  directoryOf: (worker: Worker) => WorkingDirectory;
  /** Rejects with `disk_full` if no session may begin. */
  assertRoom: () => Promise<void>;
  cliVersion: () => string;
  log: Log;
  /** Told of each finished turn: `ok` or the error's code, its time in ms, and the answer if any. */
  onTurn: (outcome: string, milliseconds: number, answer: Answer | undefined) => void;
}

export class Sessions implements RunningSessions {
  readonly #options: SessionsOptions;
  readonly #running = new Map<AbortController, Promise<Answer>>();
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
    const prompts = Promise.allSettled(this.#running.values());
    await Promise.race([prompts, timer.catch(() => undefined)]);
    over.abort();
  }

  /** Interrupts all prompts that run or wait; each `run` rejects with `reason`. */
  interruptAll(reason: BerthError): void {
    for (const ending of this.#running.keys()) ending.abort(reason);
  }

  stateOf(id: string): SessionState {
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
   * @param caller aborts when the caller has gone
   * @throws BerthError with the session id in its details, if it got that far
   */
  async run(
    prompt: Prompt,
    caller: AbortSignal,
    tell: (event: TurnEvent) => void,
  ): Promise<Answer> {
    const ending = new AbortController();
    const timer = setTimeout(() => ending.abort(timedOut(prompt.timeout)), prompt.timeout);
    const leave = (): void => ending.abort(callerGone());
    caller.addEventListener('abort', leave, { once: true });
    if (caller.aborted) leave();
    const answer = this.#runLogged(prompt, ending.signal, tell);
    this.#running.set(ending, answer);
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
      caller.removeEventListener('abort', leave);
      this.#running.delete(ending);
    }
  }

  async #runLogged(
    prompt: Prompt,
    signal: AbortSignal,
    tell: (event: TurnEvent) => void,
  ): Promise<Answer> {
    const id = `prompt_${randomUUID()}`;
    const log = this.#options.log.child({ prompt_id: id, token: prompt.token });
    const accepted = performance.now();
    const outcome = await this.#answer(id, prompt, signal, tell, log).catch(asBerthError);
    this.#finished(log, accepted, outcome);
    if (outcome instanceof BerthError) throw outcome;
    return outcome;
  }

  async #answer(
    id: string,
    prompt: Prompt,
    signal: AbortSignal,
    tell: (event: TurnEvent) => void,
    log: Log,
  ): Promise<Answer> {
    const accepted = performance.now();
    const record = await this.#recordOf(prompt);
    const worker = await this.#options.pool.acquire({
      // As the CLI wrote it: the caller may spell it otherwise.
      sessionId: record?.id,
      signal,
      onQueued: (position) => tell({ event: 'queued', data: { position } }),
    });
    const queued = performance.now() - accepted;
    log.debug('turn_started', `running on ${worker.name}`, { worker: worker.name });
    const turn = this.#turns.begin(signal);
    if (worker.sessionId !== undefined) turn.belongsTo(worker.sessionId);
    try {
      const keeper = new RecordKeeper(
        this.#options.store,
        log,
        {
          token: prompt.token,
          profile: record?.profile ?? 'default',
          workingDirectory: () => this.#options.directoryOf(worker),
          forkedFrom: null,
          flags: record?.flags ?? {},
          cliVersion: this.#options.cliVersion(),
        },
        record,
      );
      const end = await runTurn(worker, prompt.text, turn.signal, (event) => {
        if (event.event === 'session') {
          worker.sessionId = event.data.session_id;
          turn.belongsTo(worker.sessionId);
          keeper.begin(worker.sessionId);
        }
        tell(event);
      });
      await keeper.end(end);
      turn.signal.throwIfAborted();
      const error = failureOf(end.result, end.failure);
      if (error) throw error;
      return toAnswer(id, end.result, performance.now() - accepted, queued, keeper.warnings);
    } catch (thrown) {
      throw withSession(thrown, worker);
    } finally {
      this.#options.pool.release(worker, worker.process.idle);
      turn.end();
    }
  }

  /** @throws BerthError `session_not_found` if it is unknown or another token's; `disk_full` */
  async #recordOf({ sessionId, token }: Prompt): Promise<SessionRecord | undefined> {
    if (sessionId === undefined) {
      await this.#options.assertRoom();
      return undefined;
    }
    const record = await this.#options.store.read(sessionId);
    if (record?.token === token) return record;
    throw unknownSession(sessionId);
  }

  #finished(log: Log, accepted: number, outcome: Answer | BerthError): void {
    const duration = performance.now() - accepted;
    const duration_ms = Math.round(duration);
    if (outcome instanceof BerthError) {
      this.#options.onTurn(outcome.code, duration, undefined);
      const level = outcome.code === 'internal' ? 'error' : 'warn';
      log[level]('turn_finished', `not answered: ${outcome.code}`, {
        code: outcome.code,
        session_id: outcome.details.session_id,
        duration_ms,
        ...(level === 'error' ? { error: outcome } : {}),
      });
      return;
    }
    this.#options.onTurn('ok', duration, outcome);
    const { session_id, is_error, queued_ms, num_turns, cost_usd, usage } = outcome;
    log.info('turn_finished', 'answered', {
      session_id,
      is_error,
      duration_ms,
      queued_ms,
      num_turns,
      cost_usd,
      ...usage,
    });
  }
}

function withSession(thrown: unknown, worker: Worker): BerthError {
  const error = asBerthError(thrown);
  if (worker.sessionId === undefined) return error;
  return new BerthError(error.code, error.message, {
    cause: error.cause,
    details: { ...error.details, session_id: worker.sessionId },
  });
}

/** The error for a session that is not there, or not the caller's: they are not told apart. */
export function unknownSession(id: string): BerthError {
  return new BerthError(
    'session_not_found',
    `cannot continue the session ${id}: there is none of this id that belongs to this token; leave session_id out to begin one`,
  );
}

function timedOut(timeout: number): BerthError {
  return new BerthError(
    'prompt_timeout',
    `cannot answer the prompt within ${formatDuration(timeout)}: its time is up; give it more with "timeout", or raise BERTH_PROMPT_TIMEOUT`,
  );
}

function callerGone(): BerthError {
  return new BerthError(
    'interrupted',
    'cannot answer the prompt: the caller closed the connection',
  );
}
