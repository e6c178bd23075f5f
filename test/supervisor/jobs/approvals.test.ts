/** Approvals of many jobs. */
import t from 'tap';
import { type Approval, idInJob } from '../../../supervisor/approvals/approval.ts';
import { LiveApprovals } from '../../../supervisor/approvals/live-approvals.ts';
import { Approvals } from '../../../supervisor/jobs/approvals.ts';
import { memoryJobStore } from '../../support/memory-job-store.ts';
import { queuedJob } from '../../support/sample-job.ts';

t.test('an approval is found among many newer jobs that wait for a limit', async (t) => {
  const store = memoryJobStore();
  const approvals = new Approvals({ live: new LiveApprovals(), store, rulesOf: () => undefined });
  const state = 'parked';
  const job = queuedJob({ state, parked: { reason: 'approval', until: null } });
  const approval: Approval = {
    ...{ id: idInJob(job.id, 1), tool: 'Bash', input: {}, toolUseId: 'toolu_1', description: null },
    ...{ askedAt: Date.now(), expiresAt: Date.now() + 60_000, decision: null },
    ...{ used: false, links: [], notified: false },
  };
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
