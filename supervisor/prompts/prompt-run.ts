/**
 * One prompt on its way to an answer: leave to send it, a worker, the turn, and if the worker is lost
 * in the middle of it, once more in another process that resumes the session; if its login was renewed
 * too late for it, once more in the same one.
 * Always holds: a worker that was acquired is given back, whatever happens; a turn is carried on once
 * at most, and its session serves nobody else meanwhile; a session can be continued as soon as its id
 * was told.
 */
import { randomUUID } from 'node:crypto';
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { abortable } from '../../shared/waiting.ts';
import { askServers } from '../claude/mcp-servers.ts';
import type { ClaudeProcess } from '../claude/process.ts';
import type { TurnResult, Usage } from '../claude/turn-result.ts';
import type { UsageLimit } from '../claude/usage-limit.ts';
import type { Pool } from '../pool/pool.ts';
import type { Order } from '../pool/process-spec.ts';
import type { Worker } from '../pool/worker.ts';
import { runningWarning, takeReports } from '../sessions/background-reports.ts';
import type { SessionStore } from '../sessions/session-store.ts';
import type { WorkingDirectory } from '../sessions/workspaces.ts';
import { type Answer, toAnswer } from './answer.ts';
import { allowedCommand, commandFailure, unknownCommand } from './command.ts';
import type { Rates } from './cost-estimate.ts';
import { healthWarnings } from './health-warnings.ts';
import { isKept } from './kept-turn.ts';
import type { LimitGate } from './limit-gate.ts';
import type { LivePrompt } from './live-prompt.ts';
import type { LoginUse } from './login-use.ts';
import {
  addSpent,
  CallsMade,
  type LossReason,
  lossOf,
  nothing,
  optedOut,
  type Spent,
  TurnLost,
  withSpent,
  withWhatIsLeft,
} from './lost-turn.ts';
import { failureOf, withTurn } from './outcome.ts';
import type { Prompt } from './prompt.ts';
import { RecordKeeper } from './record-keeper.ts';
import { carryOn, carryOnLoggedIn, stands } from './resume-prompt.ts';
import { afterTurn, type HangWatch, runTurn, type TurnEnd, type TurnEvent } from './turn.ts';
import { workerFor } from './worker-for.ts';

export interface PromptRunOptions {
  pool: Pool;
  /** What is asked of the pool. @param resume the session whose process was lost */
  orderOf: (prompt: Prompt, resume?: string) => Order;
  store: SessionStore;
  /** Where the CLI keeps a session's conversation; undefined if it does not. */
  transcriptOf: (sessionId: string) => Promise<string | undefined>;
  /** Removes what there is of a session that came to nothing; never rejects. */
  discard: (sessionId: string) => Promise<void>;
  /** The directory of a worker, which belongs to the session that it serves from now on. */
  directoryOf: (worker: Worker) => WorkingDirectory;
  /** Rejects with `disk_full` if no session may begin, or go on. */
  assertRoom: (begins: boolean) => Promise<void>;
  /** Whether the volume may be so full that a turn is not kept. */
  mayLose: () => boolean;
  /** Told of an answered turn that is not in its session's transcript. */
  onUnkept: () => void;
  gate: LimitGate;
  /** Whose limits count for a prompt. */
  loginOf: (prompt: Prompt) => string;
  /** Resolves when the turn may begin, as far as its login is concerned. */
  useLogin: (prompt: Prompt, signal: AbortSignal) => Promise<LoginUse>;
  /** Told how a worker's process is, when it has been asked and when a turn has ended. */
  onHealth: (worker: Worker) => void;
  hang: HangWatch;
  /** Both throw `configuration_invalid` if the CLI ignores settings that guard. */
  settings: { assertInForce: () => void; check: (process: ClaudeProcess) => Promise<void> };
  rates: Rates;
  cliVersion: () => string;
  log: Log;
  /** Told what each turn has used, also one that failed or was interrupted. */
  onSpent: (prompt: Prompt, turn: Pick<TurnResult, 'costUsd' | 'usage'>) => void;
  /** Told of a turn whose process was lost, and whether it is carried on. */
  onLost: (reason: LossReason, carriedOn: boolean) => void;
}

/** One try of a prompt. */
interface Attempt {
  order: Order;
  text: string;
  /** It goes on with a turn that had begun. */
  goesOn: boolean;
}

export class PromptRun {
  readonly #options: PromptRunOptions;
  readonly #live: LivePrompt;
  readonly #prompt: Prompt;
  readonly #keeper: RecordKeeper;
  #worker: Worker | undefined;
  #model = '';
  /** The id with which the CLI was given what it answers. */
  #promptId = '';
  /** The command that was run. */
  #command: string | undefined;
  readonly #warnings: string[] = [];
  /** By the attempt that was lost. */
  #spent: Spent = nothing;
  /** Ends the reservation of the session whose turn goes on. */
  #letGo: () => void = () => {};

  constructor(options: PromptRunOptions, live: LivePrompt) {
    this.#options = options;
    this.#live = live;
    this.#prompt = live.prompt;
    const { token, profile, record, fork, flags } = live.prompt;
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

  /** @throws BerthError with the session id in its details, if it got that far */
  async toAnswer(tell: (event: TurnEvent) => void): Promise<Answer> {
    const { orderOf, assertRoom } = this.#options;
    const { record, fork, text } = this.#prompt;
    this.#options.settings.assertInForce();
    await assertRoom(record === undefined || fork);
    try {
      const first = { order: orderOf(this.#prompt), text, goesOn: false };
      return await this.#attempt(first, tell).catch(async (thrown) => {
        if (!(thrown instanceof TurnLost)) throw thrown;
        return this.#attempt(await this.#goOn(thrown, tell), tell);
      });
    } catch (thrown) {
      const error = thrown instanceof TurnLost ? await this.#giveUp(thrown) : thrown;
      throw withSpent(this.#withSession(error), this.#spent);
    } finally {
      if (this.#spent !== nothing) this.#record();
      this.#letGo();
    }
  }

  async #attempt(
    { order, text, goesOn }: Attempt,
    tell: (event: TurnEvent) => void,
  ): Promise<Answer> {
    const { log, pool } = this.#options;
    const { signal } = this.#live;
    const wanted = { live: this.#live, order, goesOn };
    const { pass, worker, use } = await workerFor(this.#options, wanted, tell);
    this.#live.become('sent');
    this.#letGo();
    log.debug('turn_started', `running on ${worker.name}`, { worker: worker.name });
    this.#worker = worker;
    if (worker.sessionId !== undefined) this.#live.serve(worker.sessionId);
    let failed: unknown;
    try {
      let again = false;
      const run = (what: string) =>
        this.#run(worker, what, use, (event) => {
          if (event.event === 'session') {
            // It is told at the begin of each turn of the CLI.
            if (again && worker.sessionId === event.data.session_id) return;
            worker.sessionId = event.data.session_id;
            this.#model = event.data.model;
            this.#live.become('running');
            this.#live.serve(worker.sessionId);
            this.#keeper.begin(worker.sessionId);
          }
          tell(event);
        });
      let end = await run(text);
      if (isRefused(end) && (await use.refused(signal))) {
        this.#countRefused(end, tell);
        again = true;
        // The process still has the prompt, and what came of it so far.
        end = await run(carryOnLoggedIn);
        if (isRefused(end)) await use.refused(signal);
      }
      return await this.#judge(end, worker, use);
    } catch (thrown) {
      failed = thrown;
      throw thrown;
    } finally {
      void use.over();
      if (failed instanceof TurnLost) {
        // The end of a process says nothing of the account.
        pass.withdraw();
        if (worker.sessionId !== undefined) this.#letGo = pool.hold(worker.sessionId);
        // One that hung lives, and must serve nobody any more.
        if (worker.process.alive) void pool.recycle(worker, 'unresponsive', true);
      } else {
        pass.done(failed === undefined ? undefined : asBerthError(failed));
        afterTurn(worker, (usable) => pool.release(worker, usable));
      }
    }
  }

  async #run(
    worker: Worker,
    text: string,
    use: LoginUse,
    tell: (event: TurnEvent) => void,
  ): Promise<TurnEnd> {
    const { signal } = this.#live;
    const { gate, loginOf, hang } = this.#options;
    const login = loginOf(this.#prompt);
    const onLimit = (limit: UsageLimit): void => gate.heard(login, limit);
    const promptId = randomUUID();
    this.#promptId = promptId;
    const calls = new CallsMade();
    const onUsage = (usage: Usage, begins: boolean): void => {
      use.answered();
      calls.note(usage, begins);
    };
    this.#command = this.#commandFor(worker, text);
    const asCommand = this.#command !== undefined;
    const told = { asCommand, signal, tell, onLimit, onUsage };
    await this.#options.settings.check(worker.process);
    try {
      return await runTurn(worker, text, { promptId, watch: hang, ...told });
    } catch (thrown) {
      const reason = signal.aborted ? undefined : lossOf(thrown, worker);
      if (reason === undefined) throw thrown;
      throw new TurnLost(worker, promptId, calls, reason, thrown);
    }
  }

  /** The command that the text begins with, if it is the caller's, allowed, and there. */
  #commandFor({ process }: Worker, text: string): string | undefined {
    if (text !== this.#prompt.text) return undefined;
    const name = allowedCommand(text, this.#prompt.profile);
    if (name === undefined || process.ownCommands.has(name)) return name;
    this.#warnings.push(unknownCommand(name));
    return undefined;
  }

  async #judge(reported: TurnEnd, worker: Worker, use: LoginUse): Promise<Answer> {
    const { signal } = this.#live;
    const { overrides, profile } = this.#prompt;
    const { gate, loginOf, rates, onSpent, onHealth } = this.#options;
    const end = { ...reported, result: rates.priced(this.#model, reported.result) };
    if (end.result.costSeen) rates.learn(this.#model, end.result);
    else this.#warnings.push(this.#tellUnseen(end));
    onSpent(this.#prompt, end.result);
    await this.#keeper.end(end);
    if (worker.process.health.unexplained) await askServers(worker.process);
    onHealth(worker);
    const whole = { ...end, result: addSpent(this.#spent, end.result) };
    if (signal.aborted) throw withTurn(asBerthError(signal.reason), whole);
    const failed = this.#command && commandFailure(this.#command, profile, end);
    const error = failed ?? failureOf(whole, overrides.outputSchema !== undefined);
    if (error) throw isOfLogin(error) ? use.explain(error) : error;
    const warnings = [
      ...this.#warnings,
      ...healthWarnings(worker.process.health.reports, profile),
      ...this.#keeper.warnings,
      ...(await this.#unkept(end)),
      ...gate.warningsOf(loginOf(this.#prompt)),
      ...runningWarning(this.#worker?.process.background ?? [], profile.limits.background),
    ];
    const reports = takeReports(this.#options.store, end.result.sessionId);
    return toAnswer(this.#live, whole, warnings, reports);
  }

  #tellUnseen({ result: { sessionId, costUsd } }: TurnEnd): string {
    const text = 'the CLI reported tokens and no cost: the cost is estimated';
    this.#options.log.error('cost_unseen', text, { session_id: sessionId, cost_usd: costUsd });
    return text;
  }

  /** What the caller has to know of a turn that a full volume did not take. */
  async #unkept({ result: { sessionId } }: TurnEnd): Promise<string[]> {
    const { mayLose, transcriptOf, onUnkept, log } = this.#options;
    if (!mayLose() || (await isKept(await transcriptOf(sessionId), this.#promptId))) return [];
    onUnkept();
    const text = "this turn is not in the session's transcript: the volume is full";
    log.error('turn_unkept', text, { session_id: sessionId });
    return [`${text}; the session will not know it after a restart`];
  }

  /** What is tried next when a process was lost. @throws TurnLost if the turn is not carried on */
  async #goOn(lost: TurnLost, tell: (event: TurnEvent) => void): Promise<Attempt> {
    const { log, orderOf, onLost } = this.#options;
    const { worker, reason } = lost;
    const { sessionId } = worker;
    if (this.#prompt.onRecycle === 'fail') throw lost;
    onLost(reason, true);
    this.#live.recycled += 1;
    this.#live.recycleReason = reason;
    log.warn('turn_carried_on', `${worker.name} was lost (${reason}); the turn goes on elsewhere`, {
      worker: worker.name,
      reason,
      session_id: sessionId,
    });
    tell({ event: 'recycled', data: { reason, session_id: sessionId ?? null } });
    const resumable = await this.#settle(lost);
    const prompt = withWhatIsLeft(this.#prompt, this.#spent);
    const order = orderOf(prompt, resumable ? sessionId : undefined);
    return { order, text: resumable ? carryOn : prompt.text, goesOn: true };
  }

  /** What a turn is that is not carried on, or not once more. */
  async #giveUp(lost: TurnLost): Promise<unknown> {
    const { reason, error } = lost;
    this.#options.onLost(reason, false);
    try {
      await this.#settle(lost);
    } catch (thrown) {
      return thrown;
    }
    return this.#prompt.onRecycle === 'fail' ? optedOut(error, reason) : error;
  }

  /**
   * Waits for the end of all that the lost process had started, and counts what it has used.
   * @returns whether the session can be resumed and has the prompt; one that has begun with this turn
   *   and cannot is gone then
   */
  async #settle(lost: TurnLost): Promise<boolean> {
    const { transcriptOf, discard } = this.#options;
    const { worker, promptId } = lost;
    const { sessionId } = worker;
    this.#count(lost);
    this.#live.become('recovering');
    await abortable(worker.gone, this.#live.signal);
    if (sessionId === undefined) return false;
    const transcript = await transcriptOf(sessionId);
    if (transcript !== undefined && (await stands(transcript, promptId))) return true;
    if (this.#isNew(sessionId)) {
      await this.#keeper.forget(sessionId);
      await discard(sessionId);
      worker.sessionId = undefined;
    }
    return false;
  }

  /** What a turn has used that the API has not let come to its end. */
  #countRefused({ result }: TurnEnd, tell: (event: TurnEvent) => void): void {
    const { log, onSpent } = this.#options;
    const { usage, costUsd } = result;
    // The CLI counts its own words for the failure as an answer.
    const numTurns = Math.max(0, result.numTurns - 1);
    this.#spent = addSpent(this.#spent, { usage, costUsd, numTurns });
    onSpent(this.#prompt, result);
    const worker = this.#worker?.name;
    const text = 'the login was renewed; the turn goes on';
    log.warn('turn_carried_on', text, { worker, reason: 'login', session_id: result.sessionId });
    const status = result.apiErrorStatus ?? null;
    tell({ event: 'retry', data: { attempt: 1, max_retries: 1, delay_ms: 0, status } });
  }

  #count({ calls: { usage, count }, result }: TurnLost): void {
    const { rates, onSpent } = this.#options;
    const spent: Spent = result ?? {
      usage,
      costUsd: rates.costOf(this.#model, usage) ?? 0,
      numTurns: count,
    };
    const { costUsd, numTurns } = spent;
    this.#spent = addSpent(this.#spent, { usage: spent.usage, costUsd, numTurns });
    onSpent(this.#prompt, spent);
  }

  /** Brings what lost attempts have used to the record of the session in which the turn has ended. */
  #record(): void {
    const { costUsd, usage } = this.#spent;
    const sessionId = this.#worker?.sessionId;
    if (sessionId !== undefined) this.#options.store.spend(sessionId, costUsd, usage);
  }

  #isNew(sessionId: string): boolean {
    const { record, fork } = this.#prompt;
    return fork || record?.id !== sessionId;
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

/** Whether the API has not accepted the login, or the CLI itself has none. */
function isRefused(end: TurnEnd): boolean {
  const error = failureOf(end);
  return error !== undefined && isOfLogin(error);
}

function isOfLogin({ code }: BerthError): boolean {
  return code === 'login_required' || code === 'login_unavailable';
}
