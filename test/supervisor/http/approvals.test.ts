/** Approvals over HTTP, with the scripted CLI. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import t from 'tap';
import { bash, startWithApprovals, stranger, webhookSecret } from '../../support/approvals.ts';
import { until } from '../../support/until.ts';
import { openReceiver, status } from '../../support/webhook-receiver.ts';

t.jobs = 3;

t.test('a call waits until an approver allows it, with an input of the approver', async (t) => {
  const { stream, pending, decide, call, surroundings, log, metricsUrl } = await startWithApprovals(
    t,
    '',
  );
  const events: { event: string; data: Record<string, unknown> }[] = [];
  const reading = (async () => {
    for await (const each of stream(bash('touch a'))) events.push(each as (typeof events)[0]);
  })();
  const [approval] = await pending();
  t.match(approval, {
    id: /^approval_/,
    state: 'pending',
    tool: 'Bash',
    input: { command: 'touch a' },
    token: 'tests',
    job_id: null,
    may_decide: true,
  });
  const { id } = approval;
  t.match(await call('GET', `/v1/approvals/${id}`), { body: { may_decide: false } });
  const yes = { decision: 'allow', updated_input: { command: 'touch b' } };
  t.match(await decide(id, yes, stranger), { status: 404, body: { code: 'approval_not_found' } });
  t.match(await decide(id, yes, 'a-token-of-the-tests'), {
    status: 403,
    body: { detail: /a prompt of the same token; .*approvals.approvers/ },
  });
  t.match(await decide(id, { decision: 'maybe' }), { status: 400 });
  t.match(await decide(id, { ...yes, message: 'x' }), { status: 400 });
  t.match(await decide(id, yes), { status: 200, body: { state: 'allowed' } });
  await reading;
  const seen = events.filter(({ event }) => event === 'approval').map(({ data }) => data);
  t.match(seen, [
    { id, state: 'pending', decided_by: null },
    { id, state: 'allowed', decided_by: 'boss' },
  ]);
  t.match(events.at(-1), {
    event: 'result',
    data: { approvals: [{ id, decision: 'allow', decided_by: 'boss', waited_ms: Number }] },
  });
  t.ok(
    existsSync(join(surroundings.workspace, 'b')) && !existsSync(join(surroundings.workspace, 'a')),
  );
  const again = await decide(id, { decision: 'deny' });
  t.match(again, { status: 409, body: { code: 'approval_ended', detail: /boss has allowed/ } });
  const audited = log.lines.filter(({ event }) => event === 'audit');
  t.match(audited, [
    { action: 'approval_allow', token: 'tests', refused: true },
    { action: 'approval_allow', token: 'boss', asked_by: 'tests', tool: 'Bash' },
  ]);
  t.notMatch(JSON.stringify(log.lines), /touch [ab]/, 'no input is in the log');
  const metrics = await (await fetch(`${metricsUrl}/metrics`)).text();
  t.match(metrics, /^berth_approvals_total\{outcome="allowed"\} 1$/m);
});

t.test('a call that matches no rule is denied as without approvals', async (t) => {
  const { prompt } = await startWithApprovals(t, '');
  const { body } = await prompt(bash('rm -rf x'));
  t.match(body, { permission_denials: [{ tool_name: 'Bash' }] });
  t.notOk('approvals' in body);
  t.match(body.result, /requested permissions to use Bash, but you haven't granted it yet/);
});

t.test(
  'a call without a decision in time is denied, and the approval ends if the client leaves',
  async (t) => {
    const { prompt, stream, pending, decide } = await startWithApprovals(t, '', {
      hasty: 'timeout: 1s',
    });
    const { body } = await prompt(bash('touch a'), { profile: 'hasty' });
    t.match(body, { result: /in time/, approvals: [{ decision: 'deny', decided_by: 'timeout' }] });
    t.match(await decide(body.approvals[0].id, { decision: 'allow' }), {
      status: 409,
      body: { detail: /its time was over/ },
    });
    const leaving = new AbortController();
    const reading = (async () => {
      for await (const _ of stream(bash('touch a'), {}, leaving.signal));
    })().catch(() => {});
    const [{ id }] = await pending();
    leaving.abort();
    await reading;
    await pending(0);
    t.match(await decide(id, { decision: 'allow' }), {
      status: 409,
      body: { detail: /turn has ended/ },
    });
  },
);

t.test(
  'a signed message contains a link that shows the call and allows one decision',
  async (t) => {
    const receiver = await openReceiver(t, status(503), status(204));
    const { prompt, url, pending } = await startWithApprovals(t, '', { receiver });
    const answer = prompt(bash('touch <b>\u202e'));
    await pending();
    const [, message] = await until('the message came twice', () =>
      receiver.received.length > 1 ? receiver.received : undefined,
    );
    const { type, data } = new Webhook(webhookSecret).verify(
      message?.body ?? '',
      message?.headers ?? {},
    ) as {
      type: string;
      data: { id: string; url: string; input: object };
    };
    t.equal(type, 'approval.requested');
    t.match(data.input, { command: 'touch <b>\u202e' });
    t.match(data.url, new RegExp(`^https://berth.example/api/approvals/${data.id}/[\\w-]{43}$`));
    const page = url + new URL(data.url).pathname.replace('/api', '');
    const shown = await fetch(page);
    const html = await shown.text();
    t.match(html, /touch &lt;b&gt;\\u\{202e\}/, 'hidden characters are shown');
    t.match(html, /<button class="deny"/);
    const policy = shown.headers.get('content-security-policy');
    t.match(
      policy,
      /^default-src 'none'; style-src 'sha256-.*form-action 'self'; frame-ancestors 'none'/,
    );
    t.notMatch(html, /<script/);
    t.equal((await fetch(page.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')))).status, 404);
    t.equal(
      (
        await fetch(`${url}/v1/approvals`, {
          headers: { authorization: `Bearer ${page.slice(-43)}` },
        })
      ).status,
      401,
    );
    const post = () =>
      fetch(page, { method: 'POST', body: new URLSearchParams({ decision: 'deny' }) });
    const wrong = await fetch(page, {
      method: 'POST',
      body: new URLSearchParams({ decision: 'x' }),
    });
    t.equal(wrong.status, 400);
    const first = await post();
    t.match(await first.text(), /This call was denied/);
    t.equal((await post()).status, 409);
    t.match((await answer).body, { approvals: [{ decision: 'deny', decided_by: 'link' }] });
    t.match(await (await fetch(page)).text(), /This call was denied/);
  },
);

t.test(
  'a job is parked while it waits, gives its worker away, and goes on after a restart',
  async (t) => {
    const settings = { BERTH_MAX_WORKERS: '1' };
    const first = await startWithApprovals(t, '', { settings });
    const jobOf = async (text: string) =>
      (await first.call('POST', '/v1/jobs', { body: { prompt: text } })).body.id as string;
    const read = async (id: string, from = first) =>
      (await from.call('GET', `/v1/jobs/${id}`)).body;
    const quick = await jobOf(bash('touch quick'));
    const [approval] = await first.pending();
    t.match(approval, { job_id: quick, id: `approval_${quick.slice(4)}_1` });
    t.match(await read(quick), { state: 'parked', parked: { reason: 'approval', until: String } });
    await first.decide(approval.id, { decision: 'allow' });
    const { body: done } = await first.call('GET', `/v1/jobs/${quick}?wait=60s`);
    t.match(done, { state: 'succeeded', attempts: [{ outcome: 'succeeded' }] });
    t.match(done.result, { recycled: 0, approvals: [{ id: approval.id, decision: 'allow' }] });

    const slow = await jobOf(bash('touch slow'));
    await first.pending();
    t.match(await first.prompt('[[say the place is free]]'), { status: 200 });
    t.match(await read(slow), { state: 'parked', parked: { reason: 'approval' } });
    await first.supervisor.stop();

    const second = await startWithApprovals(t, '', { settings, surroundings: first.surroundings });
    const [same] = await second.pending();
    t.equal(same.id, `approval_${slow.slice(4)}_1`, 'the question keeps its id');
    t.match(await second.decide(same.id, { decision: 'allow' }), { body: { state: 'allowed' } });
    const { body: ended } = await second.call('GET', `/v1/jobs/${slow}?wait=60s`);
    t.match(ended, { state: 'succeeded', attempts: [{ outcome: 'succeeded' }] });
    t.match(ended.result.approvals, [{ id: same.id, decision: 'allow', decided_by: 'boss' }]);
    t.equal(ended.result.approvals.length, 1);
    t.ok(existsSync(join(first.surroundings.workspace, 'slow')));
  },
);

t.test('a cancelled job ends its approval', async (t) => {
  const { call, pending, decide } = await startWithApprovals(t, '');
  const { body } = await call('POST', '/v1/jobs', { body: { prompt: bash('touch x') } });
  const [{ id }] = await pending();
  await call('POST', `/v1/jobs/${body.id}/cancel`);
  await pending(0);
  t.match(await decide(id, { decision: 'allow' }), {
    status: 409,
    body: { code: 'approval_ended' },
  });
});
