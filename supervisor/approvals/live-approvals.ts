/**
 * The approvals that turns of this process wait for.
 * Invariants: an approval is here from its question until the turn continues or ends. The first decision wins.
 */
import { LRUCache } from 'lru-cache';
import { type Approval, type ApprovalContext, type ApprovalDecision, decided } from './approval.ts';

export interface Waiting {
  approval: Approval;
  context: ApprovalContext;
  /** Gives the turn up, so that another prompt gets its worker; undefined if the turn cannot be given up. */
  release: (() => void) | undefined;
  /** Called with the first decision. */
  settle: (decision: ApprovalDecision) => void;
}

const mostPast = 200;

export class LiveApprovals {
  /** In the sequence of their questions. */
  readonly #waiting = new Map<string, Waiting>();
  /** The last approvals that have ended, for callers that come late. */
  readonly #past = new LRUCache<string, Pick<Waiting, 'approval' | 'context'>>({ max: mostPast });
  readonly #listeners = new Set<(waiting: Waiting) => void>();

  get all(): readonly Waiting[] {
    return [...this.#waiting.values()];
  }

  get(id: string): Waiting | undefined {
    return this.#waiting.get(id);
  }

  /** Calls the listener with each new question. */
  onAsked(listener: (waiting: Waiting) => void): void {
    this.#listeners.add(listener);
  }

  add(waiting: Waiting): void {
    this.#waiting.set(waiting.approval.id, waiting);
    for (const listener of this.#listeners) listener(waiting);
  }

  /** The question is over. @param last the approval at its end */
  remove(last: Approval): void {
    const waiting = this.#waiting.get(last.id);
    this.#waiting.delete(last.id);
    if (!waiting) return;
    this.#past.set(last.id, { approval: last, context: waiting.context });
  }

  /** An approval that waits, or one of the last that have ended. */
  find(id: string): Pick<Waiting, 'approval' | 'context'> | undefined {
    return this.#waiting.get(id) ?? this.#past.peek(id);
  }

  /** @throws BerthError `approval_ended` if there is a decision */
  decide(waiting: Waiting, decision: ApprovalDecision): Approval {
    waiting.approval = decided(waiting.approval, decision);
    waiting.settle(waiting.approval.decision ?? decision);
    return waiting.approval;
  }

  /** Notes the key of a link, or that the webhook has accepted the question. */
  change(id: string, change: Partial<Pick<Approval, 'links' | 'notified'>>): void {
    const waiting = this.#waiting.get(id);
    if (waiting) waiting.approval = { ...waiting.approval, ...change };
  }

  /** Gives up the turn that waits longest, of those that can be given up. @returns whether there was one */
  releaseOne(): boolean {
    const waiting = this.all.find(({ release }) => release);
    waiting?.release?.();
    return waiting !== undefined;
  }

  releaseAll(): void {
    for (const { release } of this.all) release?.();
  }
}
