/**
 * One prompt on its way to an answer: leave to send it, a worker, the turn, and if the worker is lost
 * in the middle of it, once more in another process that resumes the session.
 * Always holds: a worker that was acquired is given back, whatever happens; a turn is carried on once
 * at most; a session can be continued as soon as its id was told.
 */
import { randomUUID } from 'node:crypto';
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { TurnResult } from '../claude/turn-result.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';
import type { Order } from '../pool/order.ts';
import type { Pool } from '../pool/pool.ts';
import type { Worker } from '../pool/worker.ts';
import { type Answer, toAnswer } from './answer.ts';
import { textToGoOn } from './carry-on.ts';
import type { LimitGate, Pass, PassOptions } from './limit-gate.ts';
import { failureOf, stalledError, withTurn } from './outcome.ts';
import type { Prompt } from './prompt.ts';
import { RecordKeeper } from './record-keeper.ts';
import type { RunningTurns } from './running-turns.ts';
import type { SessionStore } from './session-store.ts';
import {
  afterTurn,
  type HangWatch,
  runTurn,
  type TurnEnd,
  type TurnEvent,
  TurnStalled,
} from './turn.ts';
import type { WorkingDirectory } from './workspaces.ts';

export interface AttemptOptions {
  pool: Pool;
  /** What is asked of the pool. @param resume the session whose process was lost */
  orderOf: (prompt: Prompt, resume?: string) => Order;
  store: SessionStore;
  /** Where the CLI keeps a session's conversation; undefined if it does not. */
  transcriptOf: (sessionId: string) => Promise<string | undefined>;
  /** The directory of a worker, which belongs to the session that it serves from now on. */
  directoryOf: (worker: Worker) => WorkingDirectory;
  /** Rejects with `disk_full` if no session may begin. */
  assertRoom: () => Promise<void>;
  gate: LimitGate;
  /** Whose limits count for a prompt. */
  loginOf: (prompt: Prompt) => string;
  hang: HangWatch;
  cliVersion: () => string;
  turns: RunningTurns;
  log: Log;
  /** Told what each turn has used, also one that failed or was interrupted. */
  onSpent: (prompt: Prompt, turn: Pick<TurnResult, 'costUsd' | 'usage'>) => void;
  /** Told of a turn whose process was lost, and whether it is carried on. */
  onLost: (reason: LossReason, carriedOn: boolean) => void;
}

export type LossReason = 'memory' | 'crashed' | 'hung';

/** What is known of a prompt before it has ended. */
export interface Progress {
  /** By performance.now(). */
  readonly accepted: number;
  queuedMs: number;
  recycled: number;
  recycleReason: LossReason | null;
}

/** The process was lost in the middle of the turn. */
class TurnLost extends Error {
  readonly worker: Worker;
  readonly promptId: string;
  readonly reason: LossReason;
  readonly error: BerthError;

  constructor(worker: Worker, promptId: string, reason: LossReason, error: BerthError) {
    super(error.message, { cause: error });
    this.worker = worker;
    this.promptId = promptId;
    this.reason = reason;
    this.error = error;
  }
}

export class PromptRun {
  readonly progress: Progress = {
    accepted: performance.now(),
    queuedMs: 0,
    recycled: 0,
    recycleReason: null,
  };
  readonly #options: AttemptOptions;
  readonly #id: string;
  readonly #prompt: Prompt;
  readonly #keeper: RecordKeeper;
  #worker: Worker | undefined;
  #waits = false;

  constructor(options: AttemptOptions, id: string, prompt: Prompt) {
    this.#options = options;
    this.#id = id;
    this.#prompt = prompt;
    const { token, profile, record, fork, flags } = prompt;
    this.#keeper = new RecordKeeper(
      options.store,
      options.log,
      {
        token,
        profile: profile.name,
        workingDirectory: () => options.directoryOf(this.#worker as Worker),
        forkedFrom: fork ? (record?.id ?? null) : null,
        flags,
        cliVersion: options.cliVersion(),
      },
      fork ? undefined : record,
    );
  }

  /** Whether it waits for the end of a limit. */
  get waits(): boolean {
    return this.#waits;
  }

  /** @throws BerthError with the session id in its details, if it got that far */
  async toAnswer(signal: AbortSignal, tell: (event: TurnEvent) => void): Promise<Answer> {
    const { record, fork } = this.#prompt;
    if (record === undefined || fork) await this.#options.assertRoom();
    let order = this.#options.orderOf(this.#prompt);
    let { text } = this.#prompt;
    for (;;) {
      try {
        return await this.#attempt(order, text, signal, tell);
      } catch (thrown) {
        if (!(thrown instanceof TurnLost))
          throw this.#worker ? withSession(thrown, this.#worker) : thrown;
        ({ order, text } = await this.#goOn(thrown, order, signal, tell));
      }
    }
  }

  async #attempt(
    order: Order,
    text: string,
    signal: AbortSignal,
    tell: (event: TurnEvent) => void,
  ): Promise<Answer> {
    const { pass, worker } = await this.#toWorker(order, signal, tell);
    const { log, pool } = this.#options;
    log.debug('turn_started', `running on ${worker.name}`, { worker: worker.name });
    this.#worker = worker;
    const turn = this.#options.turns.begin(signal);
    if (worker.sessionId !== undefined) turn.belongsTo(worker.sessionId);
    const promptId = randomUUID();
    let failed: BerthError | undefined;
    try {
      const end = await this.#run(worker, text, promptId, turn.signal, (event) => {
        if (event.event === 'session') {
          worker.sessionId = event.data.session_id;
          turn.belongsTo(worker.sessionId);
          this.#keeper.begin(worker.sessionId);
        }
        tell(event);
      });
      return await this.#judge(end, turn.signal);
    } catch (thrown) {
      if (thrown instanceof TurnLost) throw thrown;
      failed = withSession(thrown, worker);
      throw failed;
    } finally {
      pass.done(failed);
      afterTurn(worker, (usable) => pool.release(worker, usable));
      turn.end();
    }
  }

  /** Leave to send, and a worker; leave can be withdrawn while the worker is waited for. */
  async #toWorker(
    order: Order,
    signal: AbortSignal,
    tell: (event: TurnEvent) => void,
  ): Promise<{ pass: Pass; worker: Worker }> {
    const { pool, gate, loginOf } = this.#options;
    const { token, timeout, onLimit } = this.#prompt;
    const login = loginOf(this.#prompt);
    const left = timeout - (performance.now() - this.progress.accepted);
    const passing: PassOptions = {
      wait: onLimit === 'wait',
      deadline: Date.now() + left,
      signal,
      onWait: ({ reason, resets_at }) => {
        if (reason) tell({ event: 'limited', data: { reason, resets_at } });
      },
    };
    for (;;) {
      this.#waits = true;
      const pass = await gate.pass(login, passing).finally(() => {
        this.#waits = false;
      });
      try {
        const worker = await pool.acquire({
          order,
          token,
          signal,
          onQueued: (position) => tell({ event: 'queued', data: { position } }),
        });
        this.progress.queuedMs = performance.now() - this.progress.accepted;
        if (this.#isGood(pass, worker)) return { pass, worker };
      } catch (error) {
        pass.withdraw();
        throw error;
      }
    }
  }

  /** False if it is worth waiting for another pass; the worker is given back then. */
  #isGood(pass: Pass, worker: Worker): boolean {
    try {
      pass.check();
      return true;
    } catch (error) {
      this.#options.pool.giveBack(worker);
      if (this.#prompt.onLimit === 'fail') throw error;
      pass.withdraw();
      return false;
    }
  }

  async #run(
    worker: Worker,
    text: string,
    promptId: string,
    signal: AbortSignal,
    tell: (event: TurnEvent) => void,
  ): Promise<TurnEnd> {
    const { gate, loginOf, hang } = this.#options;
    const login = loginOf(this.#prompt);
    const onLimit = (limit: UsageLimit): void => gate.heard(login, limit);
    try {
      return await runTurn(worker, text, { promptId, signal, tell, onLimit, watch: hang });
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      const reason = lossOf(thrown, worker);
      if (reason === undefined) throw thrown;
      if (thrown instanceof TurnStalled && thrown.end) {
        this.#options.onSpent(this.#prompt, thrown.end.result);
      }
      throw new TurnLost(worker, promptId, reason, lostError(thrown, worker));
    }
  }

  async #judge(end: TurnEnd, signal: AbortSignal): Promise<Answer> {
    const { overrides } = this.#prompt;
    this.#options.onSpent(this.#prompt, end.result);
    await this.#keeper.end(end);
    if (signal.aborted) throw withTurn(asBerthError(signal.reason), end);
    const error = failureOf(end, overrides.outputSchema !== undefined);
    if (error) throw error;
    const { gate, loginOf } = this.#options;
    const warnings = [...this.#keeper.warnings, ...gate.warningsOf(loginOf(this.#prompt))];
    return toAnswer(this.#id, end, this.progress, this.#prompt, warnings);
  }

  /** What is asked for next when a process was lost. @throws BerthError if the turn is not carried on */
  async #goOn(
    { worker, promptId, reason, error }: TurnLost,
    order: Order,
    signal: AbortSignal,
    tell: (event: TurnEvent) => void,
  ): Promise<{ order: Order; text: string }> {
    const { pool, log, transcriptOf, orderOf, onLost } = this.#options;
    const prompt = this.#prompt;
    const again = this.progress.recycled === 0 && prompt.onRecycle === 'continue';
    onLost(reason, again);
    if (!again) throw prompt.onRecycle === 'fail' ? optedOut(error, reason) : error;
    this.progress.recycled += 1;
    this.progress.recycleReason = reason;
    const { sessionId } = worker;
    log.warn('turn_carried_on', `${worker.name} was lost (${reason}); the turn goes on elsewhere`, {
      worker: worker.name,
      reason,
      session_id: sessionId,
    });
    tell({ event: 'recycled', data: { reason, session_id: sessionId ?? null } });
    await pool.recycle(worker, reason === 'hung' ? 'unresponsive' : reason, true);
    // All that it started is gone before another process works in its place.
    await worker.gone;
    signal.throwIfAborted();
    const transcript = sessionId === undefined ? undefined : await transcriptOf(sessionId);
    if (sessionId === undefined || transcript === undefined) return { order, text: prompt.text };
    const text = await textToGoOn(transcript, promptId, prompt.text);
    return { order: orderOf(prompt, sessionId), text };
  }
}

/** Undefined if the process was not lost. */
function lossOf(thrown: unknown, worker: Worker): LossReason | undefined {
  if (thrown instanceof TurnStalled) return 'hung';
  if (!(thrown instanceof BerthError)) return undefined;
  if (thrown.code !== 'worker_lost' && thrown.code !== 'cli_unavailable') return undefined;
  return worker.recycledFor === 'memory' ? 'memory' : 'crashed';
}

function lostError(thrown: unknown, worker: Worker): BerthError {
  return withSession(thrown instanceof TurnStalled ? stalledError(thrown) : thrown, worker);
}

function optedOut({ details, cause }: BerthError, reason: LossReason): BerthError {
  return new BerthError(
    'worker_recycled',
    `cannot finish the turn: its process was ended (${reason}), and "on_recycle" is "fail"; its tools may have done their work, so look before you go on with the session`,
    { details, cause },
  );
}

function withSession(thrown: unknown, worker: Worker): BerthError {
  const error = asBerthError(thrown);
  if (worker.sessionId === undefined) return error;
  return new BerthError(error.code, error.message, {
    cause: error.cause,
    details: { session_id: worker.sessionId, ...error.details },
  });
}
