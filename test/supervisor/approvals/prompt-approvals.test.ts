import t from 'tap';
import type { Approval, ApprovalDecision } from '../../../supervisor/approvals/approval.ts';
import { longestInput, mostApprovals } from '../../../supervisor/approvals/approval.ts';
import { newKey, opens } from '../../../supervisor/approvals/links.ts';
import { LiveApprovals } from '../../../supervisor/approvals/live-approvals.ts';
import {
  type ApprovalKeeper,
  PromptApprovals,
  type PromptApprovalsOptions,
} from '../../../supervisor/approvals/prompt-approvals.ts';
import type { PermissionAsk } from '../../../supervisor/claude/permission.ts';
import { approvalPage } from '../../../supervisor/http/approval-page.ts';
import { approvalView } from '../../../supervisor/jobs/approval-view.ts';
import { captureLog } from '../../support/captured-log.ts';

const never = new AbortController().signal;
const ask = (command: string, rest: Partial<PermissionAsk> = {}): PermissionAsk => ({
  ...{ requestId: 'r', tool: 'Bash', input: { command }, toolUseId: 'toolu_1' },
  ...{ description: null, byRule: true, ...rest },
});
const allow = (at = 5): ApprovalDecision => ({
  ...{ kind: 'allow', via: 'token', by: 'boss', at, message: null, updatedInput: null },
});

function make(rest: Partial<PromptApprovalsOptions> = {}) {
  const live = new LiveApprovals();
  const outcomes: string[] = [];
  let ids = 0;
  const approvals = new PromptApprovals({
    rules: { tools: [], timeout: 60_000, approvers: [], ownPrompts: false, webhook: undefined },
    context: () => ({
      ...{ token: 'a', profile: 'p', promptId: null, jobId: null, sessionId: null },
    }),
    live,
    emit: () => {},
    newId: () => `approval_${++ids}`,
    placeIsNeeded: () => false,
    onEnded: (outcome) => outcomes.push(outcome),
    log: captureLog().log,
    ...rest,
  });
  const decideNext = (decision: ApprovalDecision): void =>
    live.onAsked((waiting) => live.decide(waiting, decision));
  return { live, approvals, outcomes, decideNext };
}

/** Keeps approvals as a job does, in memory. */
function keeperOf(earlier: Approval[]): ApprovalKeeper & { used: string[] } {
  const used: string[] = [];
  return {
    ...{ earlier, used, newId: (number) => `approval_job_${number}` },
    wait: async () => undefined,
    leave: async () => {},
    decide: async (id, decision) => ({
      ...(earlier.find((each) => each.id === id) as Approval),
      decision,
    }),
    goOn: async ({ id }) => void used.push(id),
  };
}

const earlierOne: Approval = {
  ...{ id: 'approval_job_1', tool: 'Bash', input: { command: 'push' }, toolUseId: 'toolu_0' },
  ...{ description: null, askedAt: 0, expiresAt: Date.now() + 60_000, decision: allow() },
  ...{ used: false, links: [], notified: true },
};

t.test('a decision of an earlier run counts once, and only for the same call', async (t) => {
  const keeper = keeperOf([earlierOne]);
  const { approvals, decideNext, live } = make({ keeper });
  let asked = 0;
  live.onAsked(() => {
    asked += 1;
  });
  t.match(await approvals.answer(ask('push'), never), {
    behavior: 'allow',
    updatedInput: { command: 'push' },
  });
  t.equal(asked, 0);
  decideNext({ ...allow(), kind: 'deny', message: 'no' });
  t.same(await approvals.answer(ask('push'), never), { behavior: 'deny', message: 'no' });
  t.same(await approvals.answer(ask('push --force'), never), { behavior: 'deny', message: 'no' });
  t.equal(asked, 2);
  t.match(approvals.reports, [{ decided_by: 'boss', tool_use_id: 'toolu_1' }, {}, {}]);
  t.same(keeper.used, ['approval_job_1', 'approval_job_2', 'approval_job_3']);
});

t.test(
  'an input that is nested very deeply is denied, also beside earlier approvals',
  async (t) => {
    const { approvals } = make({ keeper: keeperOf([{ ...earlierOne, input: { command: [] } }]) });
    for (const levels of [100, 100_000]) {
      const command = JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`);
      const denied = { behavior: 'deny', message: /nested too deeply/ };
      t.match(await approvals.answer(ask('', { input: { command } }), never), denied);
    }
  },
);

t.test('the page of an approval is not much larger than a deep input', async (t) => {
  const input = { list: JSON.parse(`${'['.repeat(99)}${'1,'.repeat(30_000)}1${']'.repeat(99)}`) };
  const approval: Approval = { ...earlierOne, input };
  const context = { token: 'a', profile: 'p', promptId: null, jobId: null, sessionId: null };
  const pageOf = (shown: Approval) =>
    approvalPage(approvalView({ approval: shown, context }, true));
  t.ok(pageOf(approval).length < 70_000);
  t.match(pageOf({ ...approval, input: { a: { b: [1] } } }), '{\n  &quot;b&quot;: [\n    1');
});

t.test('a decision that came while no process waited counts', async (t) => {
  const asked = { ...earlierOne, decision: null };
  const keeper = { ...keeperOf([asked]), wait: async () => earlierOne };
  const { approvals } = make({ keeper });
  t.match(await approvals.answer(ask('push'), never), { behavior: 'allow' });
});

t.test('two calls at once that are the same have an approval each', async (t) => {
  const keeper = keeperOf([{ ...earlierOne, decision: null }]);
  const { approvals, live } = make({ keeper });
  const answers = [approvals.answer(ask('push'), never), approvals.answer(ask('push'), never)];
  await new Promise(setImmediate);
  const [first, second] = live.all;
  t.match([first?.approval.id, second?.approval.id], ['approval_job_1', 'approval_job_2']);
  if (first) live.decide(first, allow());
  t.match(await answers[0], { behavior: 'allow' });
  t.match(live.all, [{ approval: { id: 'approval_job_2', decision: null } }]);
  if (second) live.decide(second, { ...allow(), kind: 'deny', message: 'once is enough' });
  t.match(await answers[1], { behavior: 'deny', message: 'once is enough' });
  t.same(keeper.used, ['approval_job_1', 'approval_job_2']);
});

t.test('an approval of an earlier run whose time is over is denied at once', async (t) => {
  const over = { ...earlierOne, decision: null, expiresAt: 10 };
  const { approvals, outcomes } = make({ keeper: keeperOf([over]) });
  t.match(await approvals.answer(ask('push'), never), { behavior: 'deny', message: /in time/ });
  t.same(outcomes, ['timed_out']);
});

t.test(
  'a tool call that is too long or asked too often is denied without an approval request',
  async (t) => {
    const { approvals, decideNext, live } = make();
    live.onAsked(() => t.ok(live.all.length > 0));
    const long = await approvals.answer(ask('x'.repeat(longestInput)), never);
    t.match(long, { behavior: 'deny', message: /too long/ });
    t.match(await approvals.answer(ask('x', { byRule: false }), never), { behavior: 'deny' });
    decideNext(allow());
    for (let number = 0; number < mostApprovals; number++) {
      await approvals.answer(ask(`${number}`), never);
    }
    t.match(await approvals.answer(ask('one more'), never), { message: /Do not ask again/ });
  },
);

t.test('a turn is given up only for a job, when its place is needed', async (t) => {
  const job = make({ keeper: keeperOf([]), placeIsNeeded: () => true });
  await t.rejects(job.approvals.answer(ask('x'), never), { code: 'approval_pending' });
  t.same([job.outcomes, job.live.all], [[], []]);
  const prompt = make({ placeIsNeeded: () => true });
  const answer = prompt.approvals.answer(ask('x'), never);
  await new Promise(setImmediate);
  t.notOk(prompt.live.releaseOne());
  const [waiting] = prompt.live.all;
  if (waiting) prompt.live.decide(waiting, allow(Date.now()));
  t.match(await answer, { behavior: 'allow' });
  t.throws(() => waiting && prompt.live.decide(waiting, allow(Date.now())), {
    code: 'approval_ended',
  });
});

t.test('the end of the turn ends the question', async (t) => {
  const { approvals, live, outcomes } = make();
  const over = new AbortController();
  const answer = approvals.answer(ask('x'), over.signal);
  await new Promise(setImmediate);
  const id = live.all[0]?.approval.id ?? '';
  over.abort(new Error('over'));
  await t.rejects(answer, /over/);
  t.same([outcomes, live.all], [['ended'], []]);
  t.match(live.find(id), { approval: { decision: { via: 'end' } } });
});

t.test('a key opens only with its digest', async (t) => {
  const { key, digest } = newKey();
  t.ok(opens(key, ['0'.repeat(64), digest]));
  t.notOk(opens(key, []) || opens('', [digest]) || opens(digest, [digest]));
});
