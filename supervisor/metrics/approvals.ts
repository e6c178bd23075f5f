/** The metrics of approvals. */
import { Counter, Gauge, type Registry } from 'prom-client';
import { type DecisionOutcome, decisionOutcomes } from '../approvals/prompt-approvals.ts';

const noticeOutcomes = ['delivered', 'retried', 'failed'] as const;
export type NoticeOutcome = (typeof noticeOutcomes)[number];

export type ApprovalMeters = ReturnType<typeof registerApprovals>;

/** @param waiting the approvals that turns of this process wait for */
export function registerApprovals(waiting: () => number, registry: Registry) {
  const registers = [registry];
  const ended = new Counter({
    name: 'berth_approvals_total',
    help: 'Approvals that ended, by outcome: allowed, denied, timed_out, or ended with their turn',
    labelNames: ['outcome'],
    registers,
  });
  for (const outcome of decisionOutcomes) ended.inc({ outcome }, 0);
  const notices = new Counter({
    name: 'berth_approval_notices_total',
    help: 'Requests to the webhooks of approvals, by outcome',
    labelNames: ['outcome'],
    registers,
  });
  for (const outcome of noticeOutcomes) notices.inc({ outcome }, 0);
  new Gauge({
    name: 'berth_approvals_waiting',
    help: 'Turns with a process that wait for an approval; parked jobs without a process are in berth_jobs_parked',
    registers,
    collect() {
      this.set(waiting());
    },
  });
  return {
    approvalEnded: (outcome: DecisionOutcome) => ended.inc({ outcome }),
    approvalNotice: (outcome: NoticeOutcome) => notices.inc({ outcome }),
  };
}
