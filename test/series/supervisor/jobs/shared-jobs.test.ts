/** Two replicas on one Redis: who decides an approval, who has the files of a job, and how many prompts may start. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { bash, startWithApprovals } from '../../../support/approvals.ts';
import { bashAllowed, surroundingsIn } from '../../../support/claude.ts';
import { cannotRunRedis, redisServer } from '../../../support/redis-server.ts';
import { until } from '../../../support/until.ts';

t.test(
  'approvals are decided at any replica, and files reach the replica that runs the job',
  { skip: cannotRunRedis() },
  async (t) => {
    const redis = await redisServer(t);
    const settings = (replica: string) => ({
      BERTH_REDIS_URL: redis.url,
      BERTH_REPLICA: replica,
      BERTH_JOB_WORKERS: '1',
    });
    const a = await startWithApprovals(t, '', { settings: settings('a') });
    const { surroundings } = a;
    const elsewhere = surroundingsIn(join(t.testdirName, 'b'), surroundings.api);
    writeFileSync(join(elsewhere.config, 'settings.json'), bashAllowed);
    const jobOf = async (prompt: string, rest = {}): Promise<string> =>
      (await a.call('POST', '/v1/jobs', { body: { prompt, ...rest } })).body.id;

    const held = await jobOf(bash('touch held'));
    const [first] = await a.pending();
    const b = await startWithApprovals(t, '', { settings: settings('b'), surroundings: elsewhere });
    t.match(await b.pending(), [{ id: first.id, job_id: held, input: { command: 'touch held' } }]);
    t.match(await b.decide(first.id, { decision: 'allow' }), { body: { state: 'allowed' } });
    const { body: one } = await b.call('GET', `/v1/jobs/${held}?wait=60s`);
    t.match(one, {
      state: 'succeeded',
      attempts: [{ outcome: 'succeeded' }],
      result: { recycled: 0 },
    });
    t.match(one.result.approvals, [{ id: first.id, decision: 'allow', decided_by: 'boss' }]);
    t.ok(existsSync(join(surroundings.workspace, 'held')), 'the process of a went on');
    const late = await a.decide(first.id, { decision: 'deny' });
    t.match(late, { status: 409, body: { code: 'approval_ended' } });

    // The job runs on one of the two, which is then stopped.
    const parked = await jobOf(bash('touch parked'));
    const [second] = await a.pending();
    const { body: waiting } = await a.call('GET', `/v1/jobs/${parked}`);
    t.match(waiting, { state: 'parked', parked: { reason: 'approval' } });
    const onA = a.log.lines.some(
      ({ event, job_id }) => event === 'job_started' && job_id === parked,
    );
    const [runs, decides] = onA ? [a, b] : [b, a];
    await runs.supervisor.stop();
    t.match(await decides.decide(second.id, { decision: 'allow' }), { body: { state: 'allowed' } });
    // A later job shows that the other replica takes jobs, and has passed over this one.
    const later = await decides.call('POST', '/v1/jobs', { body: { prompt: '[[say later]]' } });
    const { body: passed } = await decides.call('GET', `/v1/jobs/${later.body.id}?wait=60s`);
    t.match(passed, { state: 'succeeded', result: { result: 'later' } });
    t.match(await decides.call('GET', `/v1/jobs/${parked}`), { body: { state: 'queued' } });
    const again = await startWithApprovals(t, '', {
      settings: settings(onA ? 'a' : 'b'),
      surroundings: runs.surroundings,
    });
    const { body: two } = await decides.call('GET', `/v1/jobs/${parked}?wait=60s`);
    t.match(two, { state: 'succeeded', attempts: [{ outcome: 'succeeded' }] });
    t.match(two.result.approvals, [{ id: second.id, decision: 'allow', decided_by: 'boss' }]);
    t.equal(two.result.approvals.length, 1, 'nobody was asked twice');
    t.ok(existsSync(join(runs.surroundings.workspace, 'parked')));

    // One replica is busy, so the other one runs the job that the busy one accepts.
    const hangs = (await again.call('POST', '/v1/jobs', { body: { prompt: '[[hang stream]]' } }))
      .body;
    const busy = await until('the job that hangs runs', () =>
      [again, decides].find(({ log }) =>
        log.lines.some(({ event, job_id }) => event === 'job_started' && job_id === hangs.id),
      ),
    );
    const { workspace } = (busy === again ? decides : again).surroundings;
    const body = { prompt: '[[say seen]]', attachments: [{ name: 'data.csv', text: 'month,sum' }] };
    const { id } = (await busy.call('POST', '/v1/jobs', { body })).body;
    const { body: three } = await busy.call('GET', `/v1/jobs/${id}?wait=60s`);
    t.match(three, { state: 'succeeded', result: { result: 'seen' } });
    t.equal(readFileSync(join(workspace, 'attachments', 'data.csv'), 'utf8'), 'month,sum');
    await busy.call('POST', `/v1/jobs/${hangs.id}/cancel`);
  },
);
