/** Approvals of many jobs. */
import t from 'tap';
import {
  type Approval,
  type ApprovalDecision,
  idInJob,
} from '../../../supervisor/approvals/approval.ts';
import { LiveApprovals } from '../../../supervisor/approvals/live-approvals.ts';
import { Approvals } from '../../../supervisor/jobs/approvals.ts';
import type { Job } from '../../../supervisor/jobs/job.ts';
import { decideIn, letGo, waitFor } from '../../../supervisor/jobs/job-approvals.ts';
import { memoryJobStore } from '../../support/memory-job-store.ts';
import { queuedJob } from '../../support/sample-job.ts';

/** An approval of a job, which waits for a minute. */
function approvalOf(job: { id: string }): Approval {
  return {
    ...{ id: idInJob(job.id, 1), tool: 'Bash', input: {}, toolUseId: 'toolu_1', description: null },
    ...{ askedAt: Date.now(), expiresAt: Date.now() + 60_000, decision: null },
    ...{ used: false, links: [], notified: false },
  };
}

t.test('a decision makes a job due whose turn was given up in the same moment', async (t) => {
  const now = Date.now();
  const running = queuedJob({ state: 'running', owner: 'here', claim: 'claim' });
  const approval = approvalOf(running);
  const waiting = waitFor(running, approval, 'here', now);
  const decision: ApprovalDecision = {
    ...{ kind: 'allow', via: 'token', by: 'somebody', at: now },
    ...{ message: null, updatedInput: null },
  };
  const decided = (job: Job, isHere: boolean) =>
    decideIn(job, approval.id, decision, { isHere, now });
  t.match(decided(waiting, true), { state: 'parked', dueAt: waiting.dueAt });
  t.match(decided(waiting, false), { state: 'parked', dueAt: now + 10_000 });
  for (const isHere of [true, false]) {
    t.match(decided(letGo(waiting, now), isHere), { state: 'queued', dueAt: now });
  }
});

t.test('an approval is found among many newer jobs that wait for a limit', async (t) => {
  const store = memoryJobStore();
  const approvals = new Approvals({ live: new LiveApprovals(), store, rulesOf: () => undefined });
  const state = 'parked';
  const job = queuedJob({ state, parked: { reason: 'approval', until: null } });
  const approval = approvalOf(job);
  await store.add({ ...job, approvals: [approval] });
  for (let count = 0; count < 1_001; count++) {
    const createdAt = job.createdAt + 1 + count;
    const parked = { reason: 'usage_limit', until: null };
    await store.add(queuedJob({ state, parked, createdAt }));
  }
  t.match(await approvals.list('tests'), [{ approval: { id: approval.id } }]);
  t.equal(await approvals.isOpen(approval.id), true);
  await store.update(job.id, (stored) => ({
    ...stored,
    approvals: [{ ...approval, expiresAt: Date.now() - 1 }],
  }));
  t.equal(await approvals.isOpen(approval.id), false);
});
