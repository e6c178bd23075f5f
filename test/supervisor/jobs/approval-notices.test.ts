/** Sends the questions that an earlier process has left. */
import t from 'tap';
import { ApprovalNotices } from '../../../supervisor/jobs/approval-notices.ts';
import type { KnownApproval } from '../../../supervisor/jobs/approvals.ts';
import { captureLog } from '../../support/captured-log.ts';

const known: KnownApproval = {
  approval: {
    ...{ id: 'approval_1', tool: 'Bash', input: {}, toolUseId: 'tool-1', description: null },
    ...{ askedAt: Date.now(), expiresAt: Date.now() + 600_000, decision: null },
    ...{ used: false, links: [], notified: false },
  },
  context: { token: 'ci', profile: 'default', promptId: null, jobId: null, sessionId: null },
};

const unused = (): never => {
  throw new Error('not called');
};

/** Notices whose store cannot be read at the first times. */
function noticesAfter(failures: number) {
  let reads = 0;
  const sent = Promise.withResolvers<string>();
  const captured = captureLog();
  const notices = new ApprovalNotices({
    approvals: {
      pending: async () => {
        reads += 1;
        if (reads <= failures) throw new Error('Redis is away');
        return [known];
      },
      isOpen: async () => true,
      newKey: async () => 'key',
      notified: async () => {},
      open: unused,
    },
    rulesOf: () => ({
      ...{ tools: [], timeout: 600_000, approvers: [], ownPrompts: false },
      webhook: 'https://chat.example/ask',
    }),
    send: async (_url, { id }) => {
      sent.resolve(id);
      return 200;
    },
    publicUrl: undefined,
    log: captured.log,
  });
  return { notices, sent: sent.promise, captured };
}

t.test('a question is sent when the store can be read again', async (t) => {
  const { notices, sent, captured } = noticesAfter(1);
  t.teardown(() => notices.stop());
  void notices.start();
  t.equal(await sent, 'approval_1_requested');
  t.equal(captured.count('approval_unsent'), 1);
});

t.test('the end of berth ends the wait for the store', async () => {
  const { notices, captured } = noticesAfter(Number.POSITIVE_INFINITY);
  const started = notices.start();
  await captured.logged('approval_unsent');
  await notices.stop();
  await started;
});
