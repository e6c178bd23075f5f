/**
 * The attempts to answer one prompt. An attempt gets a worker and runs a turn. If the API refuses
 * the login, the same process continues the turn with a new login. If the worker is lost, another
 * process continues it.
 * Invariants: a worker is always released. A turn is continued once at most after a loss, and its
 * session serves no other prompt during that time. A session can be continued as soon as its id was
 * reported to the caller.
 */
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { abortable } from '../../shared/waiting.ts';
import type { PromptApprovals } from '../approvals/prompt-approvals.ts';
import type { Pool } from '../pool/pool.ts';
import type { Worker } from '../pool/worker.ts';
import { RecordKeeper } from '../sessions/record-keeper.ts';
import type { WorkingDirectory, Workspaces } from '../sessions/workspaces.ts';
import { type Answer, type ConcludeOptions, concludeTurn } from './answer.ts';
import { type ApprovalOptions, approvalsOf } from './approvals-of.ts';
import { CheckoutOfPrompt, type CheckoutOptions } from './checkout-of-prompt.ts';
import type { LivePrompt } from './live-prompts.ts';
import { TurnLost } from './lost-turn.ts';
import { isLoginRefused } from './outcome.ts';
import { finishingTurn, isOvertaken } from './overtaken-turn.ts';
import { PromptCost, type PromptCostOptions } from './prompt-cost.ts';
import { type Attempt, Recovery, type RecoveryOptions } from './recovery.ts';
import { carryOn, carryOnLoggedIn } from './resume-prompt.ts';
import { removeUnused, returnWorker } from './return-worker.ts';
import { type SendOptions, type SendRequest, type SentTurn, sendPrompt } from './send-prompt.ts';
import type { TurnEnd, TurnEvent } from './turn.ts';
import { endedBefore, type Found, type WorkerForOptions, workerFor } from './worker-for.ts';

export interface PromptRunOptions
  extends WorkerForOptions,
    SendOptions,
    ConcludeOptions,
    RecoveryOptions,
    ApprovalOptions,
    PromptCostOptions {
  /** Makes and publishes the checkouts of sessions. */
  checkouts: CheckoutOptions['checkouts'];
  pool: Pool;
  store: ConcludeOptions['store'];
  gate: WorkerForOptions['gate'];
  specs: RecoveryOptions['specs'];
  transcripts: ConcludeOptions['transcripts'] & RecoveryOptions['transcripts'];
  logins: WorkerForOptions['logins'];
  /** `bind`: the directory of a worker, which belongs to its session from then on. */
  workspaces: CheckoutOptions['workspaces'] & Pick<Workspaces, 'bind' | 'directoryOf' | 'remove'>;
  cliVersion: () => string;
  log: Log;
}

export class PromptRun {
  readonly #options: PromptRunOptions;
  readonly #live: LivePrompt;
  readonly #emit: (event: TurnEvent) => void;
  readonly #keeper: RecordKeeper;
  readonly #cost: PromptCost;
  /** The worker of the last attempt. */
  #worker: Worker | undefined;
  /** The directory of that worker. */
  #directory: WorkingDirectory | undefined;
  /** That worker, until the prompt is sent to it. */
  #unsent: Worker | undefined;
  /** The session that was recorded for this prompt, until the prompt is sent to it. */
  #unsentSession: string | undefined;
  #checkout: CheckoutOfPrompt | undefined;
  /** Whether the directory of the worker could not be filled. */
  #unfilled = false;
  #approvals: PromptApprovals | undefined;
  /** Ends the reservation of the session whose turn is continued. */
  #letGo: () => void = () => {};

  constructor(options: PromptRunOptions, live: LivePrompt, emit: (event: TurnEvent) => void) {
    this.#options = options;
    this.#live = live;
    this.#emit = emit;
    this.#cost = new PromptCost(options, live.prompt);
    const { token, profile, record, fork, flags } = live.prompt;
    this.#keeper = new RecordKeeper(
      options.store,
      options.log,
      {
        token,
        profile: profile.name,
        workingDirectory: () => this.#bindDirectory(),
        forkedFrom: fork ? (record?.id ?? null) : null,
        flags,
        cliVersion: options.cliVersion(),
        workspace: () => this.#checkout?.state,
      },
      fork ? undefined : record,
    );
  }

  /** @throws BerthError with the session id in its details, if the prompt got that far */
  async toAnswer(): Promise<Answer> {
    try {
      const { prompt, signal } = this.#live;
      this.#checkout = await CheckoutOfPrompt.prepare(this.#options, prompt, signal);
      return await this.#attempts();
    } catch (thrown) {
      throw this.#cost.inError(this.#withSession(thrown));
    } finally {
      const sessionId = this.#worker?.sessionId;
      if (sessionId !== undefined) this.#cost.record(sessionId);
      this.#letGo();
      await this.#checkout?.discard();
    }
  }

  async #attempts(): Promise<Answer> {
    const { prompt } = this.#live;
    const spec = this.#options.specs.of(prompt);
    const first = await this.#attempt({ spec, continues: false });
    if (!(first instanceof TurnLost)) return first;
    const recovery = new Recovery(this.#options, this.#live, this.#cost, this.#keeper);
    if (prompt.onRecycle === 'fail') throw await recovery.giveUp(first);
    const second = await this.#attempt(await recovery.next(first, this.#emit), true);
    if (!(second instanceof TurnLost)) return second;
    throw await recovery.giveUp(second);
  }

  /**
   * A worker that ends before it has the prompt is replaced, once.
   * @param keepsTurn as `#tryOnce`
   */
  async #attempt(attempt: Attempt, keepsTurn = false): Promise<Answer | TurnLost> {
    let { spec } = attempt;
    for (let isLast = false; ; isLast = true) {
      try {
        return await this.#tryOnce({ ...attempt, spec }, keepsTurn || isLast);
      } catch (thrown) {
        const worker = this.#lostUnsent;
        if (!worker) throw thrown;
        this.#live.become('recovering');
        await abortable(worker.gone, this.#live.signal);
        await removeUnused(this.#options.workspaces, worker, this.#directory);
        if (isLast) throw endedBefore(worker);
        // The profile may have changed while the prompt waited.
        if (!attempt.continues) spec = this.#options.specs.of(this.#live.prompt);
      }
    }
  }

  /** The worker, if it has ended before the prompt was sent to it. */
  get #lostUnsent(): Worker | undefined {
    const isLost = this.#unsent?.process.alive === false && !this.#live.signal.aborted;
    return isLost ? this.#unsent : undefined;
  }

  /** @param keepsTurn whether the prompt had a worker already */
  async #tryOnce(
    { spec, text, continues }: Attempt,
    keepsTurn: boolean,
  ): Promise<Answer | TurnLost> {
    this.#unsent = undefined;
    const wanted = { live: this.#live, spec, continues, keepsTurn };
    const found = await workerFor(this.#options, wanted, this.#emit);
    this.#letGo();
    // The profile is known now: it may have changed while the prompt waited.
    this.#approvals ??= approvalsOf(this.#options, this.#live, this.#emit, () => {
      return this.#worker?.sessionId;
    });
    let failure: unknown;
    try {
      this.#take(found.worker);
      const toSend = text ?? (await this.#ownText());
      const note = await this.#fill(found.worker);
      // A turn that continues has the note already.
      const turn = await this.#turn(found, toSend, continues ? undefined : note);
      const about = { live: this.#live, turn, cost: this.#cost, keeper: this.#keeper };
      const answer = await concludeTurn(this.#options, { ...found, ...about });
      const published = (await this.#checkout?.finish(answer)) ?? answer;
      const approvals = this.#approvals?.reports ?? [];
      return approvals.length > 0 ? { ...published, approvals } : published;
    } catch (thrown) {
      failure = thrown;
      if (thrown instanceof TurnLost) return thrown;
      throw thrown;
    } finally {
      this.#return(found, failure);
    }
  }

  /**
   * The text of the prompt, or the text that continues its turn. While the prompt waited for its worker, its session may
   * have served another prompt.
   */
  async #ownText(): Promise<string> {
    const { prompt } = this.#live;
    if (prompt.continues && (await isOvertaken(this.#options.transcripts, prompt))) {
      Object.assign(prompt, finishingTurn(prompt, prompt.continues.sessionId));
    }
    return prompt.continues ? (prompt.carryOn ?? carryOn) : prompt.text;
  }

  #return(found: Found, failure: unknown): void {
    const { pool, catalog } = this.#options;
    const endReservation = returnWorker({ pool, catalog, keeper: this.#keeper }, found, {
      failure,
      isLostUnsent: this.#lostUnsent !== undefined,
      isUnfilled: this.#unfilled,
      unsentSession: this.#unsentSession,
    });
    if (endReservation) this.#letGo = endReservation;
  }

  /** The worker may have ended by now, and its directory belongs to the session all the same. */
  #bindDirectory(): WorkingDirectory {
    const { workspaces } = this.#options;
    if (this.#worker) workspaces.bind(this.#worker.name);
    return this.#ownDirectory;
  }

  /** Of the worker of the last attempt. */
  get #ownDirectory(): WorkingDirectory {
    if (this.#directory) return this.#directory;
    throw new BerthError('internal', 'cannot name the directory of a prompt without a worker');
  }

  #take(worker: Worker): void {
    const { name, sessionId } = worker;
    this.#live.become('sent');
    this.#options.log.debug('turn_started', `running on ${name}`, { worker: name });
    this.#worker = worker;
    this.#unsent = worker;
    this.#directory = undefined;
    this.#directory = this.#options.workspaces.directoryOf(name);
    if (sessionId !== undefined) this.#live.serve(sessionId);
  }

  /** @returns what the model is to know about its checkout */
  async #fill({ process }: Worker): Promise<string | undefined> {
    this.#unfilled = true;
    const note = await this.#checkout?.fill(this.#ownDirectory.path, () => !process.alive);
    this.#unfilled = false;
    return note;
  }

  /** Runs the turn, and continues it once if the API refused the login and there is a new one. */
  async #turn({ worker, use, pass }: Found, text: string, note?: string): Promise<SentTurn> {
    const { signal } = this.#live;
    const first = await this.#send(worker, use, text, { pass, note });
    // A turn that was interrupted meanwhile is counted by its end.
    const renewed = () => use?.refused(signal).catch(() => false);
    if (!isLoginRefused(first.end) || !(await renewed())) return first;
    this.#loginRenewed(worker, first.end);
    // The process still has the prompt, and what the turn has done so far.
    const second = await this.#send(worker, use, carryOnLoggedIn, {
      pass,
      known: worker.sessionId,
      sentBefore: [first.promptId],
    });
    if (isLoginRefused(second.end)) await renewed();
    return second;
  }

  /**
   * @param more.known the session that the caller already knows: the CLI reports it with each of its turns
   */
  #send(
    worker: Worker,
    use: Found['use'],
    text: string,
    {
      known,
      ...more
    }: Pick<SendRequest, 'pass' | 'note' | 'sentBefore'> & { known?: string | undefined },
  ): Promise<SentTurn> {
    const emit = (event: TurnEvent): void => {
      if (event.event === 'session') {
        if (known !== undefined && event.data.session_id === worker.sessionId) return;
        this.#begin(worker, event.data.session_id, event.data.model);
      }
      this.#emit(event);
    };
    const beforeSend = async (promptId: string): Promise<void> => {
      const { prompt, signal } = this.#live;
      this.#unsent = undefined;
      await prompt.approvals?.leave();
      // The worker of a prompt that was interrupted meanwhile may serve another prompt.
      signal.throwIfAborted();
      if (text === prompt.text) await this.#note(worker, promptId);
      signal.throwIfAborted();
      this.#unsentSession = undefined;
      this.#live.isSent = true;
      const sessionId = worker.sessionId ?? worker.process.sessionId;
      if (sessionId !== undefined) this.#keeper.goesOn(sessionId);
    };
    const approvals = this.#approvals;
    const approve: SendRequest['approve'] =
      approvals && ((ask, signal) => approvals.answer(ask, signal));
    const onUnanswered: SendRequest['onUnanswered'] = (used) => this.#cost.lost(used);
    const place = { path: this.#ownDirectory.path, isCheckout: this.#checkout !== undefined };
    return sendPrompt(this.#options, {
      ...{ live: this.#live, worker, place, use, text, ...more },
      ...{ emit, approve, onUnanswered, beforeSend },
    });
  }

  /** Reports the prompt before it is sent, if its caller wants that. The record of its session is durable then. */
  async #note(worker: Worker, promptId: string): Promise<void> {
    const { onSend, record } = this.#live.prompt;
    const sessionId = worker.sessionId ?? worker.process.sessionId;
    if (!onSend || sessionId === undefined) return;
    if (sessionId !== record?.id) this.#unsentSession = sessionId;
    worker.sessionId = sessionId;
    this.#live.serve(sessionId);
    this.#keeper.begin(sessionId);
    await this.#keeper.recorded();
    await onSend({ sessionId, promptId });
  }

  /** The CLI has reported the session of the turn. */
  #begin(worker: Worker, sessionId: string, model: string): void {
    worker.sessionId = sessionId;
    this.#cost.model = model;
    this.#live.become('running');
    this.#live.serve(sessionId);
    this.#keeper.begin(sessionId);
  }

  #loginRenewed({ name }: Worker, end: TurnEnd): void {
    const { sessionId, apiErrorStatus } = end.result;
    this.#cost.refused(end);
    const text = 'the login was renewed; the turn continues';
    const fields = { worker: name, reason: 'login', session_id: sessionId };
    this.#options.log.warn('turn_carried_on', text, fields);
    const status = apiErrorStatus ?? null;
    this.#emit({ event: 'retry', data: { attempt: 1, max_retries: 1, delay_ms: 0, status } });
  }

  #withSession(thrown: unknown): BerthError {
    const error = asBerthError(thrown);
    const sessionId = this.#worker?.sessionId;
    if (sessionId === undefined) return error;
    return new BerthError(error.code, error.message, {
      cause: error.cause,
      details: { session_id: sessionId, ...error.details },
    });
  }
}
