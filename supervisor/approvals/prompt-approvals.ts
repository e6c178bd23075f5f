/**
 * The approvals of one prompt, over all its processes: answers each question of the CLI, at once or when a decision is there.
 * Invariants: a call that no ask rule matches is denied at once. A question that was asked before, in a lost process or in
 * an earlier run of the job, keeps its id, and its decision counts for one call. A wait ends with a decision, at its
 * time-out, with the turn, or when the turn is given up.
 */
import { BerthError } from '../../shared/errors.ts';
import { deepest, isDeeperThan } from '../../shared/json-depth.ts';
import type { Log } from '../../shared/log.ts';
import { notGranted, type PermissionAnswer, type PermissionAsk } from '../claude/permission.ts';
import type { ProfileApprovals } from '../profiles/profile.ts';
import {
  type Approval,
  type ApprovalContext,
  type ApprovalDecision,
  ended,
  isAbout,
  longestInput,
  mostApprovals,
  timedOut,
} from './approval.ts';
import type { LiveApprovals, Waiting } from './live-approvals.ts';

/** Keeps the approvals of a job, so that they survive the process. */
export interface ApprovalKeeper {
  /** Those of earlier runs. */
  earlier: readonly Approval[];
  newId: (number: number) => string;
  /**
   * The job waits for this approval from now on.
   * @returns the approval as it is stored: its decision may have come while no process waited
   * @throws BerthError if the job is no longer this run's
   */
  wait: (approval: Approval) => Promise<Approval | undefined>;
  /** The turn continues in another process; if one has waited, it is gone. @throws BerthError as `wait` */
  leave: () => Promise<void>;
  /** Stores a decision, unless there is one. @returns the approval as it is stored */
  decide: (id: string, decision: ApprovalDecision) => Promise<Approval>;
  /** The turn continues with this approval, which is used. @throws BerthError as `wait` */
  goOn: (approval: Approval) => Promise<void>;
}

export type ApprovalEvent = {
  event: 'approval';
  data: {
    id: string;
    state: 'pending' | 'allowed' | 'denied';
    tool: string;
    input: unknown;
    expires_at: string;
    decided_by: string | null;
  };
};

export interface PromptApprovalsOptions {
  rules: ProfileApprovals;
  context: () => ApprovalContext;
  live: LiveApprovals;
  emit: (event: ApprovalEvent) => void;
  /** Absent for a prompt that is no job. */
  keeper?: ApprovalKeeper | undefined;
  /** Makes the id of an approval of a prompt that is no job. */
  newId: () => string;
  /** Milliseconds since 1970 at which the prompt ends, if that is before the time-out; undefined for a job. */
  deadline?: number | undefined;
  /** Whether another prompt waits for a worker now. */
  placeIsNeeded: () => boolean;
  /** Called when the prompt begins to wait, and when it continues. */
  onWait?: (waits: boolean) => void;
  onEnded: (outcome: DecisionOutcome) => void;
  log: Log;
  now?: () => number;
}

export const decisionOutcomes = ['allowed', 'denied', 'timed_out', 'ended'] as const;
export type DecisionOutcome = (typeof decisionOutcomes)[number];

/** Of one approval, for the answer of the prompt. */
export interface ApprovalReport {
  id: string;
  tool_name: string;
  tool_use_id: string;
  decision: 'allow' | 'deny';
  /** The name of the token, `link`, or `timeout`. */
  decided_by: string;
  waited_ms: number;
}

/** The end of a turn that is given up while it waits. */
export function givenUp(): BerthError {
  return new BerthError(
    'approval_pending',
    'cannot finish the turn now: it waits for an approval, and its place is needed; decide the approval',
  );
}

export class PromptApprovals {
  readonly #options: PromptApprovalsOptions;
  readonly #now: () => number;
  #approvals: Approval[];
  /** Ids of approvals that a call is being answered with: a second call that is the same needs another approval. */
  readonly #open = new Set<string>();
  #waits = 0;

  constructor(options: PromptApprovalsOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#approvals = [...(options.keeper?.earlier ?? [])];
  }

  /** The decisions so far, in the sequence of their questions. */
  get reports(): ApprovalReport[] {
    return this.#approvals.flatMap(({ id, tool, toolUseId, askedAt, decision, used }) =>
      decision && used
        ? [
            {
              ...{ id, tool_name: tool, tool_use_id: toolUseId, decision: decision.kind },
              decided_by: decision.by ?? decision.via,
              waited_ms: Math.max(0, decision.at - askedAt),
            },
          ]
        : [],
    );
  }

  /**
   * @param signal aborts when the CLI takes the question back, or the turn is over
   * @throws BerthError `approval_pending` if the turn is given up; the reason of the signal
   */
  async answer(ask: PermissionAsk, signal: AbortSignal): Promise<PermissionAnswer> {
    if (!ask.byRule) return notGranted(ask.tool);
    if (isDeeperThan(ask.input, deepest)) {
      return denial(
        `The input is nested too deeply for an approval (${deepest} levels at most). Make flatter calls.`,
      );
    }
    const known = this.#approvals.find(
      (each) => !each.used && !this.#open.has(each.id) && isAbout(each, ask),
    );
    if (!known && this.#approvals.length >= mostApprovals) {
      return denial(`This turn has asked for ${mostApprovals} approvals. Do not ask again.`);
    }
    if (Buffer.byteLength(JSON.stringify(ask.input)) > longestInput) {
      return denial(
        `The input is too long for an approval (${longestInput} bytes at most). Make smaller calls.`,
      );
    }
    const approval = known ? { ...known, toolUseId: ask.toolUseId } : this.#newOne(ask);
    this.#keep(approval);
    this.#open.add(approval.id);
    try {
      return await this.#use(await this.#settle(approval, signal));
    } finally {
      this.#open.delete(approval.id);
    }
  }

  /** The approval with its decision. */
  async #settle(approval: Approval, signal: AbortSignal): Promise<Approval> {
    if (approval.decision) return approval;
    const isOver = approval.expiresAt <= this.#now();
    if (isOver) return this.#decide(approval, timedOut(approval.expiresAt));
    return this.#wait(approval, signal);
  }

  #newOne({ tool, input, toolUseId, description }: PermissionAsk): Approval {
    const { rules, keeper, newId, deadline = Infinity } = this.#options;
    const askedAt = this.#now();
    return {
      id: keeper ? keeper.newId(this.#approvals.length + 1) : newId(),
      ...{ tool, input, toolUseId, description, askedAt },
      expiresAt: Math.min(askedAt + rules.timeout, deadline),
      ...{ decision: null, used: false, links: [], notified: false },
    };
  }

  #keep(approval: Approval): void {
    const others = this.#approvals.filter(({ id }) => id !== approval.id);
    this.#approvals = [...others, approval].sort((a, b) => a.askedAt - b.askedAt);
  }

  async #wait(approval: Approval, signal: AbortSignal): Promise<Approval> {
    const { live, keeper, context, placeIsNeeded } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<ApprovalDecision>();
    const stored = await keeper?.wait(approval);
    if (stored?.decision) return stored;
    const waiting: Waiting = {
      ...{ approval, context: context(), settle: resolve },
      release: keeper && (() => reject(givenUp())),
    };
    const leave = (): void => reject(signal.reason);
    const left = Math.max(0, approval.expiresAt - this.#now());
    const timer = setTimeout(() => {
      this.#decide(waiting.approval, timedOut(this.#now())).then(
        ({ decision }) => decision && resolve(decision),
        reject,
      );
    }, left);
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    this.#asked(approval);
    this.#emit(approval);
    this.#waiting(true);
    live.add(waiting);
    if (placeIsNeeded()) waiting.release?.();
    try {
      const decision = await promise;
      waiting.approval = { ...waiting.approval, decision };
      return waiting.approval;
    } catch (error) {
      const isGivenUp = error instanceof BerthError && error.code === 'approval_pending';
      if (!isGivenUp) {
        waiting.approval = { ...waiting.approval, decision: ended(this.#now()) };
        this.#ended(waiting.approval);
      }
      throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', leave);
      live.remove(waiting.approval);
      this.#waiting(false);
    }
  }

  async #decide(approval: Approval, decision: ApprovalDecision): Promise<Approval> {
    const { keeper } = this.#options;
    return keeper ? keeper.decide(approval.id, decision) : { ...approval, decision };
  }

  async #use(approval: Approval): Promise<PermissionAnswer> {
    const used = { ...approval, used: true };
    await this.#options.keeper?.goOn(used);
    this.#keep(used);
    this.#ended(used);
    this.#emit(used);
    const { decision, input } = used;
    if (decision?.kind === 'allow') {
      return { behavior: 'allow', updatedInput: decision.updatedInput ?? input };
    }
    return denial(decision?.message ?? 'A person has denied this call. Do not try it again.');
  }

  #waiting(begins: boolean): void {
    const before = this.#waits;
    this.#waits += begins ? 1 : -1;
    if (before === 0 || this.#waits === 0) this.#options.onWait?.(begins);
  }

  #asked(approval: Approval): void {
    const { tool, expiresAt } = approval;
    this.#options.log.info('approval_requested', `a call of ${tool} waits for an approval`, {
      ...this.#fields(approval),
      until: new Date(expiresAt).toISOString(),
    });
  }

  #ended(approval: Approval): void {
    const { tool, askedAt, decision } = approval;
    const outcome = outcomeOf(approval);
    this.#options.onEnded(outcome);
    this.#options.log.info('approval_ended', `the approval of a call of ${tool}: ${outcome}`, {
      ...this.#fields(approval),
      decision: outcome,
      by: decision?.by ?? decision?.via,
      waited_ms: Math.max(0, (decision?.at ?? this.#now()) - askedAt),
    });
  }

  #fields({ id: approval_id, tool }: Approval) {
    const { token, profile, jobId, sessionId } = this.#options.context();
    return { approval_id, tool, token, profile, session_id: sessionId, job_id: jobId };
  }

  #emit({ id, tool, input, expiresAt, decision }: Approval): void {
    const state = decision === null ? 'pending' : decision.kind === 'allow' ? 'allowed' : 'denied';
    const expires_at = new Date(expiresAt).toISOString();
    const decided_by = decision && (decision.by ?? decision.via);
    this.#options.emit({
      event: 'approval',
      data: { id, state, tool, input, expires_at, decided_by },
    });
  }
}

function outcomeOf({ decision }: Approval): DecisionOutcome {
  if (decision === null || decision.via === 'end') return 'ended';
  if (decision.via === 'timeout') return 'timed_out';
  return decision.kind === 'allow' ? 'allowed' : 'denied';
}

function denial(message: string): PermissionAnswer {
  return { behavior: 'deny', message };
}
