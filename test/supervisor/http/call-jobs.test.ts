import { PassThrough } from 'node:stream';
import t, { type Test } from 'tap';
import { callJobs, type JobsCall } from '../../../supervisor/http/call-jobs.ts';
import { readToken } from '../../../supervisor/http/call-server.ts';
import { otherToken, startApiServer, token } from '../../support/api-server.ts';
import { jobOf } from '../../support/job.ts';
import { memoryJobStore } from '../../support/memory-job-store.ts';

async function start(t: Test) {
  const jobStore = memoryJobStore();
  const { port } = await startApiServer(t, { jobStore });
  const at = { host: '0.0.0.0', port };
  const call = (action: string, id?: string, more: Partial<JobsCall> = {}) =>
    callJobs({ action, id, token, at, ...more });
  return { jobStore, call };
}

t.test('berth jobs list prints a table of the jobs, with why each waits or failed', async (t) => {
  const { jobStore, call } = await start(t);
  t.equal(await call('list'), 'This token has no such jobs.\n');
  const until = Date.parse('2026-01-31T22:00:00Z');
  await jobStore.add(jobOf({ state: 'parked', parked: { reason: 'usage_limit', until } }));
  await jobStore.add(jobOf({ state: 'failed' }));
  await jobStore.add(jobOf({ profile: 'bad\u001b[31m' }));
  const table = await call('list');
  t.match(table, /^ID +STATE +CREATED +PROFILE +ATTEMPTS +DETAIL\n/);
  t.match(table, /parked .* usage_limit until 2026-01-31T22:00:00.000Z\n/);
  t.match(table, /failed .* turn_failed\n/);
  t.notMatch(table, '\u001b', 'texts are safe for a terminal');
  t.equal((await call('list', undefined, { state: 'failed' })).split('\n').length, 3);
  t.match(JSON.parse(await call('list', undefined, { json: true })), { next: null });
  t.equal(await call('list', undefined, { token: otherToken }), 'This token has no such jobs.\n');
});

t.test('berth jobs shows, cancels and retries a job', async (t) => {
  const { jobStore, call } = await start(t);
  const queued = jobOf();
  const failed = jobOf({ state: 'failed' });
  await jobStore.add(queued);
  await jobStore.add(failed);
  t.match(JSON.parse(await call('show', failed.id)), { error: { code: 'turn_failed' } });
  t.match(JSON.parse(await call('cancel', queued.id)), { state: 'cancelled' });
  t.match(JSON.parse(await call('retry', failed.id)), { state: 'queued' });
});

t.test('a wrong call of berth jobs is refused with a remedy', async (t) => {
  const { call } = await start(t);
  await t.rejects(call('show'), { message: /needs the id of a job; use list, show ID/ });
  await t.rejects(call('remove', 'x'), { message: /there is no such action/ });
  await t.rejects(call('list', 'x'), { message: /there is no such action/ });
  const { id } = jobOf();
  await t.rejects(call('show', id), { message: /cannot show the job at .*job_not_found/ });
  await t.rejects(call('show', '../status'), { message: /400/ }, 'the id is one part of the path');
});

t.test('the token is the first line of the standard input', async (t) => {
  const input = new PassThrough();
  input.end('\n  a-token  \nmore\n');
  t.equal(await readToken(input), 'a-token');
  await t.rejects(readToken(new PassThrough().end()), { message: /there is no API token/ });
});
