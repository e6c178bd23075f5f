/**
 * What callers can do with approvals: list, read and decide. An approval waits in a turn of this process, in a stored job,
 * or in both.
 * Invariants: a caller sees the approvals of its own prompts and those that it may decide. Only an approver of the profile
 * decides with a token, and about its own prompts only if the profile allows it. The first decision wins: for a job, the
 * store has it before the turn continues.
 */

import { BerthError } from '../../shared/errors.ts';
import {
  type Approval,
  type ApprovalContext,
  type ApprovalDecision,
  decided,
  isPending,
  jobOfApproval,
  unknownApproval,
} from '../approvals/approval.ts';
import { mostLinks, newKey, opens } from '../approvals/links.ts';
import type { LiveApprovals } from '../approvals/live-approvals.ts';
import type { ProfileApprovals } from '../profiles/profile.ts';
import { isEnd, type Job } from './job.ts';
import { approvalReason, changeIn, closed, decideIn } from './job-approvals.ts';
import type { JobStore } from './job-store.ts';

/** An approval with its origin. */
export interface KnownApproval {
  approval: Approval;
  context: ApprovalContext;
}

/** A decision of a person. */
export interface NewDecision {
  kind: 'allow' | 'deny';
  message?: string | undefined;
  updatedInput?: Record<string, unknown> | undefined;
}

export interface ApprovalsOptions {
  live: LiveApprovals;
  store: Pick<JobStore, 'readHead' | 'update' | 'list'>;
  /** The rules of a profile; undefined if it has none, or does not exist any more. */
  rulesOf: (profile: string) => ProfileApprovals | undefined;
  now?: () => number;
}

const pageSize = 200;

export class Approvals {
  readonly #options: ApprovalsOptions;
  readonly #now: () => number;

  constructor(options: ApprovalsOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** The pending approvals that the token may see, the oldest first. @throws BerthError `job_store_unavailable` */
  async list(token: string): Promise<KnownApproval[]> {
    return (await this.pending()).filter((known) => this.#sees(token, known));
  }

  /** All pending approvals, the oldest first. @throws BerthError `job_store_unavailable` */
  async pending(): Promise<KnownApproval[]> {
    const { live } = this.#options;
    const known = new Map<string, KnownApproval>();
    for (const job of await this.#parked()) {
      for (const approval of job.approvals ?? []) {
        known.set(approval.id, { approval, context: contextOf(job) });
      }
    }
    for (const { approval, context } of live.all) known.set(approval.id, { approval, context });
    const now = this.#now();
    return [...known.values()]
      .filter(({ approval }) => isPending(approval, now))
      .sort((a, b) => a.approval.askedAt - b.approval.askedAt);
  }

  /** @throws BerthError `approval_not_found`, `job_store_unavailable` */
  async read(id: string, token: string): Promise<KnownApproval> {
    const known = await this.#find(id);
    if (known && this.#sees(token, known)) return known;
    throw unknownApproval(id);
  }

  /** Whether the approval waits for a decision. @throws BerthError `job_store_unavailable` */
  async isOpen(id: string): Promise<boolean> {
    const known = await this.#find(id);
    return known !== undefined && isPending(known.approval, this.#now());
  }

  /** Whether the token may decide about that approval. */
  mayDecide(token: string, { context }: Pick<KnownApproval, 'context'>): boolean {
    const rules = this.#options.rulesOf(context.profile);
    if (!rules?.approvers.includes(token)) return false;
    return rules.ownPrompts || context.token !== token;
  }

  /** @throws BerthError `approval_not_found`, `approval_ended`, `forbidden`, `job_store_unavailable` */
  async decide(id: string, token: string, decision: NewDecision): Promise<KnownApproval> {
    const known = await this.read(id, token);
    if (!this.mayDecide(token, known)) throw notApprover(id, token, known.context);
    return this.#decide(known, { via: 'token', by: token, ...decision });
  }

  /** @throws BerthError `approval_not_found` if the key opens nothing, `job_store_unavailable` */
  async open(id: string, key: string): Promise<KnownApproval> {
    const known = await this.#find(id);
    if (known && opens(key, known.approval.links)) return known;
    throw unknownApproval(id);
  }

  /** @throws BerthError as `open`, `approval_ended` */
  async decideByLink(id: string, key: string, kind: 'allow' | 'deny'): Promise<KnownApproval> {
    return this.#decide(await this.open(id, key), { via: 'link', by: null, kind });
  }

  /** Makes a key of a link. @throws BerthError `job_store_unavailable` */
  async newKey(id: string): Promise<string> {
    const { key, digest } = newKey();
    const waiting = this.#options.live.get(id);
    const links = [...(waiting?.approval.links ?? []), digest].slice(-mostLinks);
    this.#options.live.change(id, { links });
    await this.#change(id, (approval) => ({
      links: [...approval.links, digest].slice(-mostLinks),
    }));
    return key;
  }

  /** Notes that the webhook has accepted the question. @throws BerthError `job_store_unavailable` */
  async notified(id: string): Promise<void> {
    this.#options.live.change(id, { notified: true });
    await this.#change(id, () => ({ notified: true }));
  }

  async #change(
    id: string,
    change: (approval: Approval) => Partial<Pick<Approval, 'links' | 'notified'>>,
  ): Promise<void> {
    const job = jobOfApproval(id);
    if (job === undefined) return;
    await this.#options.store.update(job, (stored) =>
      isEnd(stored.state) ? undefined : changeIn(stored, id, change),
    );
  }

  async #decide(
    { approval, context }: KnownApproval,
    { kind, message, updatedInput, via, by }: NewDecision & Pick<ApprovalDecision, 'via' | 'by'>,
  ): Promise<KnownApproval> {
    const { live, store } = this.#options;
    const { id } = approval;
    const now = this.#now();
    const decision: ApprovalDecision = {
      ...{ kind, via, by, at: now },
      ...{ message: message ?? null, updatedInput: updatedInput ?? null },
    };
    const jobId = jobOfApproval(id);
    const waiting = live.get(id);
    if (jobId === undefined) {
      if (waiting) return { approval: live.decide(waiting, decision), context };
      decided(approval, decision);
      throw unknownApproval(id);
    }
    const isHere = waiting !== undefined;
    const job = await store.update(jobId, (stored) =>
      decideIn(stored, id, decision, { isHere, now }),
    );
    const after = job?.approvals?.find((each) => each.id === id);
    if (!after) throw unknownApproval(id);
    waiting?.settle(decision);
    return { approval: after, context };
  }

  async #find(id: string): Promise<KnownApproval | undefined> {
    const { live, store } = this.#options;
    const jobId = jobOfApproval(id);
    if (jobId === undefined) return live.find(id);
    const job = await store.readHead(jobId);
    const approval = job?.approvals?.find((each) => each.id === id);
    return job && approval && { approval: closed(approval, job), context: contextOf(job) };
  }

  #sees(token: string, known: KnownApproval): boolean {
    const rules = this.#options.rulesOf(known.context.profile);
    return known.context.token === token || rules?.approvers.includes(token) === true;
  }

  async #parked(): Promise<Job[]> {
    const { store } = this.#options;
    const found: Job[] = [];
    let cursor: string | undefined;
    do {
      const page = await store.list({ parked: approvalReason, limit: pageSize, cursor });
      found.push(...page.jobs);
      cursor = page.cursor ?? undefined;
    } while (cursor !== undefined);
    return found;
  }
}

function contextOf({ id, token, profile, sessionId, promptId }: Job): ApprovalContext {
  return { token, profile, sessionId, jobId: id, promptId };
}

function notApprover(id: string, token: string, context: ApprovalContext): BerthError {
  const cause =
    context.token === token
      ? 'it is about a prompt of the same token'
      : 'the profile does not name the token as an approver';
  const remedy = `add another token to profiles.${context.profile}.approvals.approvers, or use the link`;
  return new BerthError('forbidden', `cannot decide ${id}: ${cause}; ${remedy}`);
}
