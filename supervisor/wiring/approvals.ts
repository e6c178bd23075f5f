/** Connects approvals with the store of jobs, the profiles and the webhooks. */
import type { Log } from '../../shared/log.ts';
import type { SupervisorConfig } from '../config.ts';
import { ApprovalNotices } from '../jobs/approval-notices.ts';
import { Approvals } from '../jobs/approvals.ts';
import type { Callbacks } from '../jobs/callbacks/callbacks.ts';
import type { JobStore } from '../jobs/job-store.ts';
import type { Profiles } from '../profiles/profiles.ts';
import type { Parts } from './compose.ts';

export interface ApprovalWiring {
  config: SupervisorConfig;
  profiles: Profiles;
  store: JobStore;
  callbacks: Pick<Callbacks, 'send'>;
  log: Log;
}

export function connectApprovals(
  { liveApprovals: live, metrics }: Parts,
  { config, profiles, store, callbacks, log }: ApprovalWiring,
): { approvals: Approvals; notices: ApprovalNotices } {
  const rulesOf = (profile: string) => profiles.get(profile)?.approvals;
  const approvals = new Approvals({ live, store, rulesOf });
  const notices = new ApprovalNotices({
    ...{ approvals, rulesOf, log },
    send: (url, message, signal) => callbacks.send(url, message, signal),
    publicUrl: config.publicUrl,
    onSent: (outcome) => metrics.approvalNotice(outcome),
  });
  live.onAsked((known) => notices.send(known));
  profiles.onChange(() => notices.review());
  return { approvals, notices };
}
