import t from 'tap';
import { BerthError, type ErrorCode, errorTable } from '../../../shared/errors.ts';
import { afterRun, verdicts } from '../../../supervisor/jobs/after-run.ts';
import type { Job } from '../../../supervisor/jobs/job.ts';
import { wasLost } from '../../../supervisor/jobs/job-attempts.ts';
import type { Answer } from '../../../supervisor/prompts/answer.ts';
import { runningJob } from '../../support/sample-job.ts';

const now = Date.parse('2026-11-29T03:00:00Z');

const ending = (code: ErrorCode, details: Record<string, unknown> = {}, job: Partial<Job> = {}) =>
  afterRun(
    runningJob(job),
    { error: new BerthError(code, 'cannot do it: for a test', { details }) },
    now,
    { random: () => 0.5 },
  );

t.test('every error code is decided', async (t) => {
  t.strictSame(Object.keys(verdicts).sort(), Object.keys(errorTable).sort());
});

t.test(
  'a verdict leads to its state, and only a failure and a retry spend an attempt',
  async (t) => {
    const states = { fail: 'failed', retry: 'queued', park: 'parked', requeue: 'queued' };
    for (const code of Object.keys(verdicts) as ErrorCode[]) {
      const verdict = verdicts[code];
      const job = ending(code);
      t.equal(job.state, states[verdict], code);
      const spent = verdict === 'fail' || verdict === 'retry';
      t.match(job.attempts, spent ? [{ outcome: code, endedAt: now }] : [], code);
      t.equal(job.owner, null);
    }
  },
);

t.test('only a drain queues a job again without a pause', async (t) => {
  t.equal(ending('draining').dueAt, now);
  for (const code of ['queue_full', 'job_store_unavailable'] as const) {
    t.ok(ending(code).dueAt > now, code);
  }
});

t.test('an answer is the result of the job, with its metadata', async (t) => {
  const answer = { result: 'yes' } as Answer;
  const job = afterRun(runningJob({ metadata: { execution: '4' } }), { answer }, now);
  t.match(job, { state: 'succeeded', endedAt: now, error: null });
  t.strictSame(job.result, { result: 'yes', metadata: { execution: '4' } });
  t.match(job.attempts, [{ outcome: 'succeeded', endedAt: now }]);
});

t.test('a job fails with the error of its last attempt', async (t) => {
  const spent = { startedAt: now - 2, endedAt: now - 1, outcome: 'worker_lost' };
  const open = { startedAt: now - 1, endedAt: null, outcome: null };
  const job = ending('empty_answer', { session_id: 'one' }, { attempts: [spent, spent, open] });
  t.match(job, {
    state: 'failed',
    error: { code: 'empty_answer', detail: 'cannot do it: for a test', session_id: 'one' },
  });
  t.equal(job.attempts.length, 3);
});

t.test('the pauses between attempts grow', async (t) => {
  const pauses = [1, 2, 3].map((spent) => {
    const attempts = Array.from({ length: spent }, () => ({
      startedAt: now,
      endedAt: null,
      outcome: null,
    }));
    return ending('worker_lost', {}, { attempts, maxAttempts: 9 }).dueAt - now;
  });
  t.ok((pauses[0] ?? 0) > 0);
  t.ok((pauses[0] ?? 0) < (pauses[1] ?? 0) && (pauses[1] ?? 0) < (pauses[2] ?? 0));
});

t.test('a limit with a known end parks the job until a little after that end', async (t) => {
  const resets_at = '2026-11-29T05:00:00.000Z';
  const reset = Date.parse(resets_at);
  const job = ending('usage_limit', { resets_at, retry_after: 7_200 });
  t.strictSame(job.parked, { reason: 'usage_limit', until: reset });
  t.ok(job.dueAt > reset && job.dueAt <= reset + 300_000);
  t.equal(ending('rate_limited', { retry_after: 30 }).parked?.until, now + 30_000);
});

t.test('a replica that does not know a new token or profile yet parks the job', async (t) => {
  const end = (code: ErrorCode) => ({ error: new BerthError(code, 'cannot run it: for a test') });
  for (const code of ['token_revoked', 'profile_not_found', 'forbidden'] as const) {
    const after = (age: number, shared = true) =>
      afterRun(runningJob({ createdAt: now - age }), end(code), now, { shared });
    t.match(after(60_000), { state: 'parked', parked: { reason: code }, attempts: [] });
    t.ok(after(60_000).dueAt < now + 60_000, 'it is tried again soon');
    t.equal(after(600_000).state, 'failed', 'each replica knows it by then');
    t.equal(after(60_000, false).state, 'failed', 'no other replica has accepted it');
  }
});

t.test('a run that sends nothing leaves the lost run before it the last one', async (t) => {
  const job = runningJob();
  for (const code of ['volume_unwritable', 'draining'] as const) {
    const end = { error: new BerthError(code, 'cannot run it: for a test') };
    t.equal(wasLost(afterRun(job, end, now, { sent: false })), true, code);
    t.equal(wasLost(afterRun(job, end, now)), false, code);
  }
});

t.test('a limit whose end has passed parks the job for growing pauses', async (t) => {
  for (const resets_at of ['2026-11-29T02:59:00.000Z', new Date(now).toISOString()]) {
    const jobs = [0, 3, 30].map((parkings) =>
      ending('usage_limit', { resets_at, retry_after: 1 }, { parkings }),
    );
    t.match(jobs[0]?.parked, { reason: 'usage_limit', until: null });
    const [first = 0, second = 0, third = 0] = jobs.map(({ dueAt }) => dueAt - now);
    t.ok(first > 5_000 && first < second && second < third, `${first} ${second} ${third}`);
  }
});

t.test('a wait for a person has no known end, and is looked at again', async (t) => {
  for (const code of ['paused', 'login_required', 'disk_full'] as const) {
    const job = ending(code, { retry_after: 60 });
    t.strictSame(job.parked, { reason: code, until: null });
    t.ok(job.dueAt - now > 300_000, code);
  }
});

t.test('a fault without a known end is tried again after growing pauses', async (t) => {
  const pauses = [0, 3, 30].map((parkings) => ending('overloaded', {}, { parkings }).dueAt - now);
  t.ok((pauses[0] ?? 0) < (pauses[1] ?? 0) && (pauses[1] ?? 0) < (pauses[2] ?? 0));
  t.ok((pauses[2] ?? 0) <= 15 * 60_000);
});
