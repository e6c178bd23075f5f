/** Sends questions, also those that an earlier process has left, and those whose webhook was wrong. */
import t from 'tap';
import { ApprovalNotices } from '../../../supervisor/jobs/approval-notices.ts';
import type { KnownApproval } from '../../../supervisor/jobs/approvals.ts';
import { captureLog } from '../../support/captured-log.ts';
import { until } from '../../support/until.ts';

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

/** Notices of a profile whose webhook `hook` names, and the status of each answer; undefined: there is no answer. */
function noticesTo(answers: (url: string) => number | undefined) {
  const hook: { url: string | undefined } = { url: 'https://wrong.example/ask' };
  const requests: string[] = [];
  const state = { isOpen: true, notified: 0 };
  const captured = captureLog();
  const notices = new ApprovalNotices({
    approvals: {
      pending: async () => [],
      isOpen: async () => state.isOpen,
      newKey: async () => 'key',
      notified: async () => {
        state.notified += 1;
      },
      open: unused,
    },
    rulesOf: () => ({
      ...{ tools: [], timeout: 600_000, approvers: [], ownPrompts: false },
      webhook: hook.url,
    }),
    send: async (url) => {
      requests.push(url);
      const status = answers(url);
      if (status === undefined) throw new Error('nobody answers');
      return status;
    },
    publicUrl: undefined,
    log: captured.log,
    pauses: { first: 1, longest: 1, jitter: 0 },
  });
  const right = 'https://right.example/ask';
  return { notices, hook, right, requests, state, captured };
}

t.test('a question goes to the webhook that the profile has at that time', async (t) => {
  const { notices, hook, right, requests, captured } = noticesTo((url) =>
    url.includes('right') ? 200 : undefined,
  );
  t.teardown(() => notices.stop());
  notices.send(known);
  await captured.logged('approval_unsent');
  hook.url = right;
  await captured.logged('approval_sent');
  t.equal(requests.at(-1), right);
});

t.test('a question that was given up is sent when the profile is corrected, once', async (t) => {
  const { notices, hook, right, requests, state, captured } = noticesTo((url) =>
    url.includes('right') ? 200 : 404,
  );
  t.teardown(() => notices.stop());
  notices.send(known);
  await captured.logged('approval_unsent', ({ msg }) => /given up/.test(msg));
  t.equal(requests.length, 5);
  hook.url = right;
  await until('its work is over', () => {
    notices.review();
    return state.notified > 0;
  });
  notices.review();
  await notices.stop();
  t.strictSame(requests.slice(5), [right]);
  t.equal(state.notified, 1);
});

t.test('the refusals of a wrong webhook do not count for the right one', async (t) => {
  let answers = 0;
  const { notices, hook, right, requests, captured } = noticesTo(() => {
    answers += 1;
    if (answers === 4) hook.url = right;
    return answers < 8 ? 404 : 200;
  });
  t.teardown(() => notices.stop());
  notices.send(known);
  await captured.logged('approval_sent');
  t.equal(requests.filter((url) => url === right).length, 4);
});

t.test('a question of a profile without a webhook is sent when the profile gets one', async (t) => {
  const { notices, hook, right, requests, state, captured } = noticesTo(() => 200);
  t.teardown(() => notices.stop());
  hook.url = undefined;
  notices.send(known);
  notices.review();
  t.strictSame(requests, []);
  hook.url = right;
  notices.review();
  await captured.logged('approval_sent');
  t.strictSame(requests, [right]);
  hook.url = undefined;
  notices.send({ ...known, approval: { ...known.approval, id: 'approval_2' } });
  hook.url = right;
  state.isOpen = false;
  notices.review();
  await notices.stop();
  t.strictSame(requests, [right], 'what was decided meanwhile is not sent');
});
