/** Jobs over HTTP, run by the supervisor with the scripted CLI. */
import { randomUUID } from 'node:crypto';
import t from 'tap';
import { RunRecord } from '../../../supervisor/jobs/run-record.ts';
import { collect, readEvents } from '../../support/read-events.ts';
import { startSupervisor, token } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

t.test('a job runs, and its result is the answer that a prompt would have had', async (t) => {
  const { call, prompt, url, metricsUrl, log } = await startSupervisor(t);
  const metadata = { run: '42' };
  const headers = { 'idempotency-key': randomUUID() };
  const body = { prompt: '[[say hello]]', metadata };
  const accepted = await call('POST', '/v1/jobs', { body, headers });
  t.match(accepted, { status: 202, body: { id: /^job_/, session_id: null } });
  const { id } = accepted.body;
  const { body: job } = await call('GET', `/v1/jobs/${id}?wait=60s`);
  t.match(job, { state: 'succeeded', result: { result: 'hello', metadata }, metadata });
  t.match(job.attempts, [{ outcome: 'succeeded', ended_at: String }]);
  t.equal(job.session_id, job.result.session_id);
  const again = await call('POST', '/v1/jobs', { body, headers });
  t.match(again.body, { id, state: 'succeeded' }, 'the key gives the job again');
  const { body: direct } = await prompt('[[say hello]]', { metadata });
  t.same(Object.keys(job.result).sort(), Object.keys(direct).sort());

  const headersOfCall = { authorization: `Bearer ${token}` };
  const response = await fetch(`${url}/v1/jobs/${id}/events`, { headers: headersOfCall });
  const events = await collect(readEvents(response));
  const states = events.filter(({ event }) => event === 'state').map(({ data }) => data.state);
  t.equal(states.at(-1), 'succeeded', 'the stream ends with the end of the job');
  t.ok(events.some(({ event }) => event === 'session'));

  const { body: status } = await call('GET', '/v1/status');
  t.match(status.jobs, { store: { kind: 'sqlite', available: true }, states: { succeeded: 1 } });
  const metrics = await (await fetch(`${metricsUrl}/metrics`)).text();
  t.match(metrics, /^berth_jobs\{state="succeeded"\} 1$/m);
  t.match(metrics, /^berth_jobs_accepted_total\{priority="normal"\} 1$/m);
  t.match(metrics, /^berth_jobs_ended_total\{state="succeeded"\} 1$/m);
  t.match(metrics, /^berth_job_store_available 1$/m);
  const logged = log.lines.filter((line) => line.job_id === id).map(({ event }) => event);
  t.ok(logged.includes('job_accepted') && logged.includes('job_finished'), logged.join());
  t.equal((await call('DELETE', `/v1/jobs/${id}`)).status, 204);
});

t.test('a pause parks a job, and the job goes on after the pause', async (t) => {
  const { call } = await startSupervisor(t);
  await call('POST', '/v1/pause', { body: { reason: 'a test' } });
  const headers = { prefer: 'respond-async' };
  const accepted = await call('POST', '/v1/prompts', { body: { prompt: '[[say x]]' }, headers });
  t.match(accepted, { status: 202 });
  const path = `/v1/jobs/${accepted.body.id}`;
  const parked = await until('the job is parked', async () => {
    const { body } = await call('GET', path);
    return body.state === 'parked' ? body : undefined;
  });
  t.match(parked, { parked: { reason: 'paused' }, attempts: [] });
  await call('POST', '/v1/resume');
  const { body: ended } = await call('GET', `${path}?wait=60s`);
  t.match(ended, { state: 'succeeded', attempts: [{ outcome: 'succeeded' }] });
  t.equal(ended.attempts.length, 1);
});

t.test('a cancelled job interrupts its turn', async (t) => {
  const { call } = await startSupervisor(t);
  const body = { prompt: '[[hang stream]]' };
  const { body: job } = await call('POST', '/v1/jobs', { body });
  await until('the job runs', async () => {
    const { body } = await call('GET', `/v1/jobs/${job.id}`);
    return body.session_id !== null;
  });
  t.match(await call('POST', `/v1/jobs/${job.id}/cancel`), { body: { state: 'cancelled' } });
  await until('the worker is free', async () => {
    const { body } = await call('GET', '/v1/status');
    return body.workers.every(({ state }: { state: string }) => state !== 'busy');
  });
  const { body: ended } = await call('GET', `/v1/jobs/${job.id}`);
  t.match(ended, { state: 'cancelled' });
});

t.test('a job that is cancelled just before its prompt is sent leaves no session', async (t) => {
  const { call, surroundings } = await startSupervisor(t);
  const sessions = async () => (await call('GET', '/v1/sessions')).body.sessions.length;
  const recorded: number[] = [];
  const { note } = RunRecord.prototype;
  const value: typeof note = async function (this: RunRecord, sent) {
    await note.call(this, sent);
    recorded.push(await sessions());
    await call('POST', `/v1/jobs/${this.job.id}/cancel`);
  };
  t.intercept(RunRecord.prototype, 'note', { value });
  const { body: job } = await call('POST', '/v1/jobs', { body: { prompt: '[[say never]]' } });
  await until('the job is cancelled', async () => {
    return (await call('GET', `/v1/jobs/${job.id}`)).body.state === 'cancelled';
  });
  t.strictSame(recorded, [1], 'the session was recorded');
  await until('the session is removed', async () => (await sessions()) === 0);
  const { body: status } = await call('GET', '/v1/status');
  t.strictSame(status.workers, []);
  t.equal(surroundings.api.requests.length, 0);
});

t.test(
  'a caller reads all pages of the list, and removes the jobs of a page before the next',
  async (t) => {
    const { call } = await startSupervisor(t);
    const made: string[] = [];
    for (const prompt of ['a', 'b', 'c', 'd', 'e']) {
      const { body: job } = await call('POST', '/v1/jobs', { body: { prompt, delay: '1h' } });
      await call('POST', `/v1/jobs/${job.id}/cancel`);
      made.unshift(job.id);
    }
    const listed: string[] = [];
    let next = '';
    do {
      const page = await call('GET', `/v1/jobs?limit=2${next}`);
      t.equal(page.status, 200, page.body.detail);
      for (const { id } of page.body.jobs ?? []) {
        listed.push(id);
        await call('DELETE', `/v1/jobs/${id}`);
      }
      next = page.body.next ? `&cursor=${page.body.next}` : '';
    } while (next);
    t.same(listed, made);
    for (const cursor of ['nonsense', '-1', '1e3', made[0], 'x'.repeat(101)]) {
      t.match(await call('GET', `/v1/jobs?cursor=${cursor}`), {
        status: 400,
        body: { detail: /cursor/ },
      });
    }
  },
);
