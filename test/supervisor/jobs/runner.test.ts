import t, { type Test } from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { abortable, aborted } from '../../../shared/waiting.ts';
import type { Approval } from '../../../supervisor/approvals/approval.ts';
import type { ApprovalKeeper } from '../../../supervisor/approvals/prompt-approvals.ts';
import { become, type Job, type JobState } from '../../../supervisor/jobs/job.ts';
import { carryOnWith } from '../../../supervisor/jobs/job-approvals.ts';
import { Jobs } from '../../../supervisor/jobs/jobs.ts';
import { JobRunner, type RunnerOptions } from '../../../supervisor/jobs/runner.ts';
import type { Answer } from '../../../supervisor/prompts/answer.ts';
import type { Continued } from '../../../supervisor/prompts/continue-prompt.ts';
import type { Prompt } from '../../../supervisor/prompts/prompt.ts';
import { captureLog } from '../../support/captured-log.ts';
import { type MemoryJobStore, memoryJobStore } from '../../support/memory-job-store.ts';
import { queuedJob, runningJob } from '../../support/sample-job.ts';
import { until } from '../../support/until.ts';

/** What a run of a prompt does in a test. */
type Script = (prompt: Prompt, caller: AbortSignal) => Promise<Answer>;

const answer = (text: string) => ({ result: text, session_id: 'session-1' }) as Answer;
const sent = { sessionId: 'session-1', promptId: 'prompt-1' };
const failing = (code: BerthError['code'], details = {}): Script => {
  return async (prompt) => {
    await prompt.onSend?.(sent);
    throw new BerthError(code, 'cannot do it: for a test', { details });
  };
};

const question = (id: string): Approval => ({
  ...{ id, tool: 'Bash', input: {}, toolUseId: 'toolu_1', description: null, decision: null },
  ...{ askedAt: Date.now(), expiresAt: Date.now() + 60_000 },
  ...{ used: false, links: [], notified: true },
});

function untilAborted(caller: AbortSignal): Promise<Answer> {
  return abortable(new Promise<never>(() => {}), caller);
}

async function startRunner(t: Test, options: Partial<RunnerOptions> & { script?: Script } = {}) {
  const store = (options.store as MemoryJobStore | undefined) ?? memoryJobStore();
  const prompts: Prompt[] = [];
  const continued: unknown[] = [];
  const { script = async () => answer('done'), ...rest } = options;
  const fromBefore: Continued = { answer: answer('from before') };
  const state: {
    script: Script;
    continued: Continued | ((signal: AbortSignal) => Promise<Continued>);
  } = { script, continued: fromBefore };
  const resolve = async ({ text }: { text: string }) =>
    ({ text, profile: { name: 'default', limits: {} } }) as Prompt;
  const runner = new JobRunner({
    store,
    owner: 'here',
    workers: 1,
    promptResolver: { resolve },
    continuation: {
      resolve: async (_request, before, signal) => {
        continued.push(before);
        return typeof state.continued === 'function' ? state.continued(signal) : state.continued;
      },
    },
    prompts: {
      run: (prompt, caller) => {
        prompts.push(prompt);
        return state.script(prompt, caller);
      },
    },
    log: captureLog().log,
    now: Date.now,
    ...rest,
  });
  const jobs = new Jobs({
    store,
    promptResolver: { resolve },
    timeout: 7_200_000,
    onCancelled: (id) => runner.cancelled(id),
  });
  t.teardown(() => runner.stop());
  const has = (id: string, wanted: JobState): Promise<Job> =>
    until(`${id} is ${wanted}`, async () => {
      const job = await store.read(id);
      return job?.state === wanted ? job : undefined;
    });
  return { store, runner, jobs, prompts, continued, state, has };
}

t.test('a job runs as a prompt that waits behind interactive prompts', async (t) => {
  const { store, runner, prompts, has } = await startRunner(t);
  runner.start();
  const { job } = await store.add(queuedJob({ timeout: 5_000 }));
  t.match(await has(job.id, 'succeeded'), { result: { result: 'done' }, owner: null });
  t.match(prompts, [{ text: '[[say done]]', lane: 'job', timeout: 5_000 }]);
  const later = await store.add(queuedJob({ priority: 'background' }));
  await has(later.job.id, 'succeeded');
  t.equal(prompts[1]?.lane, 'background');
});

t.test('the session and the id of the prompt are stored before the prompt is sent', async (t) => {
  const seen: (Job | undefined)[] = [];
  const { store, runner, state, has } = await startRunner(t);
  const { job } = await store.add(queuedJob());
  state.script = async (prompt) => {
    await prompt.onSend?.(sent);
    seen.push(await store.read(job.id));
    return answer('done');
  };
  runner.start();
  await has(job.id, 'succeeded');
  t.match(seen, [{ ...sent, attempts: [{ endedAt: null }] }]);
});

t.test('no more jobs run at once than there are workers for jobs', async (t) => {
  let running = 0;
  let most = 0;
  const { store, runner, has } = await startRunner(t, {
    workers: 2,
    script: async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return answer('done');
    },
  });
  const jobs = await Promise.all(Array.from({ length: 6 }, () => store.add(queuedJob())));
  runner.start();
  for (const { job } of jobs) await has(job.id, 'succeeded');
  t.equal(most, 2);
});

t.test('a limit parks the job without an attempt, and its end queues the job again', async (t) => {
  const resets_at = new Date(Date.now() + 3_600_000).toISOString();
  const made = await startRunner(t, { script: failing('usage_limit', { resets_at }) });
  const { store, runner, state, has, continued } = made;
  runner.start();
  const { job } = await store.add(queuedJob());
  const parked = await has(job.id, 'parked');
  t.match(parked, { parked: { reason: 'usage_limit', until: Date.parse(resets_at) }, ...sent });
  t.strictSame(parked.attempts, []);
  state.continued = { prompt: { text: 'again' } as Prompt, lost: false };
  state.script = async () => answer('after the limit');
  await runner.unpark(['usage_limit']);
  t.match(await has(job.id, 'succeeded'), { result: { result: 'after the limit' } });
  t.strictSame(continued, [{ ...sent, cut: false }]);
});

t.test('a job that loses its worker again and again fails after its attempts', async (t) => {
  let minutes = 0;
  const { store, runner, state, has } = await startRunner(t, {
    script: failing('worker_lost'),
    now: () => Date.now() + 60_000 * ++minutes,
  });
  state.continued = { prompt: { text: 'go on' } as Prompt, lost: false };
  const { job } = await store.add(queuedJob({ maxAttempts: 2 }));
  runner.start();
  const failed = await has(job.id, 'failed');
  t.match(failed.error, { code: 'worker_lost' });
  t.match(failed.attempts, [{ outcome: 'worker_lost' }, { outcome: 'worker_lost' }]);
});

t.test('a turn that had ended before the restart does not run again', async (t) => {
  const { store, runner, prompts, continued, has } = await startRunner(t);
  const { job } = await store.add(runningJob({ ...sent, owner: 'the process before' }));
  runner.start();
  const done = await has(job.id, 'succeeded');
  t.match(done, { result: { result: 'from before' }, attempts: [{ outcome: 'succeeded' }] });
  t.strictSame(continued, [{ ...sent, cut: true }]);
  t.strictSame(prompts, []);
});

t.test('a run that was lost with its process counts as a restart and as no attempt', async (t) => {
  const { store, runner, state, has } = await startRunner(t);
  const { job } = await store.add(runningJob({ ...sent, owner: 'the process before' }));
  state.continued = { prompt: { text: 'go on', continues: sent } as Prompt, lost: false };
  runner.start();
  const done = await has(job.id, 'succeeded');
  t.match(done, { restarts: 1, attempts: [{ outcome: 'succeeded' }] });
  t.equal(done.attempts.length, 1);
});

t.test('a job that takes berth down again and again fails', async (t) => {
  const { store, runner, prompts, has } = await startRunner(t);
  const lost = runningJob({ ...sent, owner: 'the process before', restarts: 20 });
  const { job } = await store.add(lost);
  runner.start();
  t.match((await has(job.id, 'failed')).error, { code: 'worker_lost', detail: /20 times/ });
  t.strictSame(prompts, []);
});

t.test('a job that takes berth down before its prompt is sent fails too', async (t) => {
  const { store, runner, prompts, has } = await startRunner(t);
  const lost = runningJob({ attempts: [], owner: 'the process before', restarts: 20 });
  const { job } = await store.add(lost);
  runner.start();
  t.match((await has(job.id, 'failed')).error, { code: 'worker_lost', detail: /20 times/ });
  t.strictSame(prompts, []);
});

t.test('a job that fails before its prompt is sent spends its attempts', async (t) => {
  let minutes = 0;
  const { store, runner, has } = await startRunner(t, {
    script: async () => {
      throw new BerthError('internal', 'cannot start git: for a test');
    },
    now: () => Date.now() + 60_000 * ++minutes,
  });
  const { job } = await store.add(queuedJob({ maxAttempts: 2 }));
  runner.start();
  const failed = await has(job.id, 'failed');
  t.match(failed.attempts, [{ outcome: 'internal' }, { outcome: 'internal' }]);
});

t.test('a job expires on time while other jobs hold all places', async (t) => {
  let ahead = 0;
  const store = memoryJobStore();
  const { claim } = store;
  store.claim = async (...call) => {
    const job = await claim(...call);
    ahead = 3_600_000;
    return job;
  };
  const { runner, jobs, has } = await startRunner(t, {
    store,
    now: () => Date.now() + ahead,
    script: (_prompt, caller) => untilAborted(caller),
  });
  const { job: first } = await store.add(queuedJob({ createdAt: Date.now() - 1_000 }));
  const { job } = await store.add(queuedJob({ expiresAt: Date.now() + 600_000 }));
  runner.start();
  t.match((await has(job.id, 'expired')).error, { code: 'job_expired' });
  t.equal(runner.running, 1);
  await jobs.cancel(first.id, 'tests');
});

t.test(
  'a parked job without a known end does not wait for a clock that was set back',
  async (t) => {
    const { store, runner, has } = await startRunner(t);
    const dueAt = Date.now() + 86_400_000;
    const parked = (until: number | null, due = dueAt) =>
      queuedJob({ state: 'parked', parked: { reason: 'overloaded', until }, dueAt: due });
    const known = await store.add(parked(dueAt));
    const soon = await store.add(parked(null, Date.now() + 900_000));
    const late = await store.add(parked(null));
    runner.start();
    await has(late.job.id, 'succeeded');
    await has(known.job.id, 'parked');
    await has(soon.job.id, 'parked');
  },
);

t.test(
  'a limit that ends while the store is away ends for its jobs when the store is back',
  async (t) => {
    const { store, runner, has } = await startRunner(t);
    const dueAt = Date.now() + 7 * 86_400_000;
    const parked = { reason: 'usage_limit', until: dueAt };
    const { job } = await store.add(queuedJob({ state: 'parked', parked, dueAt }));
    runner.start();
    store.problem = 'cannot reach the store: for a test';
    let done = 0;
    await runner.unpark(['usage_limit'], 1, () => {
      done += 1;
    });
    await runner.unpark(['usage_limit'], 1);
    t.equal(done, 0);
    store.problem = null;
    await has(job.id, 'succeeded');
    t.equal(done, 1, 'the caller learns that the jobs are due');
  },
);

t.test(
  'the caller of a report learns of its end also if another report fails beside it',
  async (t) => {
    const { store, runner, has } = await startRunner(t);
    const dueAt = Date.now() + 7 * 86_400_000;
    const parked = { reason: 'usage_limit', until: dueAt };
    const { job } = await store.add(queuedJob({ state: 'parked', parked, dueAt }));
    store.problem = 'cannot reach the store: for a test';
    let done = 0;
    await Promise.all([
      runner.unpark(['usage_limit'], 1, () => {
        done += 1;
      }),
      runner.unpark(['usage_limit'], 1),
    ]);
    store.problem = null;
    runner.start();
    await has(job.id, 'succeeded');
    t.equal(done, 1);
  },
);

t.test(
  'a job that is parked for a limit which ended while the job ran is due at once',
  async (t) => {
    const resets_at = new Date(Date.now() + 5 * 86_400_000).toISOString();
    const { store, runner, state, has } = await startRunner(t);
    state.continued = { prompt: { text: 'again' } as Prompt, lost: false };
    state.script = async (prompt, caller) => {
      state.script = async () => answer('after the limit');
      await runner.unpark(['usage_limit']);
      return failing('usage_limit', { resets_at })(prompt, caller);
    };
    runner.start();
    const { job } = await store.add(queuedJob());
    t.match(await has(job.id, 'succeeded'), { result: { result: 'after the limit' } });
  },
);

t.test('a job that meets the limit again after a report stays parked until its end', async (t) => {
  const resets_at = new Date(Date.now() + 5 * 86_400_000).toISOString();
  const { store, runner, state, prompts, has } = await startRunner(t);
  const limited = failing('usage_limit', { resets_at });
  state.continued = { prompt: { text: 'again' } as Prompt, lost: false };
  state.script = async (prompt, caller) => {
    state.script = limited;
    await runner.unpark(['usage_limit']);
    return limited(prompt, caller);
  };
  runner.start();
  const { job } = await store.add(queuedJob());
  await until('it has run twice', () => prompts.length === 2);
  await until('no run is left', () => runner.running === 0);
  t.ok((await has(job.id, 'parked')).dueAt >= Date.parse(resets_at));
  t.equal(prompts.length, 2);
});

t.test('a cancelled job interrupts its prompt and stays cancelled', async (t) => {
  const reasons: unknown[] = [];
  const { store, runner, jobs, has } = await startRunner(t, {
    script: async (prompt, caller) => {
      await prompt.onSend?.(sent);
      return untilAborted(caller).finally(() => reasons.push(caller.reason.code));
    },
  });
  runner.start();
  const { job } = await store.add(queuedJob());
  await until('the prompt runs', async () => (await store.read(job.id))?.promptId ?? false);
  t.match(await jobs.cancel(job.id, 'tests'), { state: 'cancelled', owner: null });
  await until('the run has ended', () => runner.running === 0);
  t.strictSame(reasons, ['interrupted']);
  t.match(await has(job.id, 'cancelled'), { attempts: [{ outcome: 'interrupted' }] });
  const history = await store.events(job.id, 0);
  t.match(history.at(-1), { event: 'state', data: { state: 'cancelled' } });
});

t.test('a cancel that comes after the end reports the end', async (t) => {
  const { store, runner, jobs, has } = await startRunner(t);
  runner.start();
  const { job } = await store.add(queuedJob());
  await has(job.id, 'succeeded');
  await t.rejects(jobs.cancel(job.id, 'tests'), { code: 'job_ended' });
});

t.test('a drain queues the job again with its session and without an attempt', async (t) => {
  const { store, runner, state, has } = await startRunner(t);
  state.script = (...call) => {
    runner.drain();
    return failing('draining')(...call);
  };
  const { job } = await store.add(queuedJob());
  runner.start();
  await until('the job is sent', async () => (await store.read(job.id))?.promptId ?? false);
  await runner.stop();
  const queued = await has(job.id, 'queued');
  t.match(queued, sent);
  t.strictSame(queued.attempts, []);
});

t.test('a stop ends the publishing of an earlier turn, and its job is queued again', async (t) => {
  const { store, runner, state, has } = await startRunner(t);
  const { job } = await store.add(runningJob({ ...sent, owner: 'the process before' }));
  const publishing = Promise.withResolvers<void>();
  const problem = { code: 'publish_failed', detail: 'cannot publish: it was cut short' };
  state.continued = async (signal) => {
    publishing.resolve();
    await aborted(signal);
    return { answer: { ...answer('ended'), workspace: { problem } } as never };
  };
  runner.start();
  await publishing.promise;
  await runner.stop();
  const queued = await has(job.id, 'queued');
  // The open attempt is that of the process before, whose turn the next run finds in the transcript.
  t.match(queued, { ...sent, attempts: [{ endedAt: null }] });
  t.equal(queued.attempts.length, 1);
});

t.test('a cancel ends the publishing of an earlier turn', async (t) => {
  const { store, runner, jobs, state, has } = await startRunner(t);
  const { job } = await store.add(runningJob({ ...sent, owner: 'the process before' }));
  const publishing = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  const problem = { code: 'publish_failed', detail: 'cannot publish: it was cut short' };
  state.continued = async (signal) => {
    publishing.resolve();
    await aborted(signal);
    ended.resolve();
    return { answer: { ...answer('ended'), workspace: { problem } } as never };
  };
  runner.start();
  await publishing.promise;
  await jobs.cancel(job.id, 'tests');
  await ended.promise;
  await has(job.id, 'cancelled');
});

t.test('a finished turn is kept until the store has it', async (t) => {
  const made = await startRunner(t);
  const { store, runner, state, prompts, has } = made;
  state.script = async (prompt) => {
    await prompt.onSend?.(sent);
    store.problem = 'cannot write the job: the disk is full';
    return answer('kept');
  };
  runner.start();
  const { job } = await store.add(queuedJob());
  await until('the store fails', () => store.problem !== null);
  store.problem = null;
  t.match(await has(job.id, 'succeeded'), { result: { result: 'kept' } });
  t.equal(prompts.length, 1);
});

t.test('a job that expires while it runs is interrupted', async (t) => {
  const waiting = queuedJob();
  const at = Date.now();
  const { store, runner, has } = await startRunner(t, {
    // The clock stands still, so that the job never expires before its run.
    now: () => at,
    script: async (prompt, caller) => {
      await prompt.onSend?.(sent);
      return untilAborted(caller);
    },
  });
  runner.start();
  const { job } = await store.add({ ...waiting, expiresAt: at + 300 });
  t.match(await has(job.id, 'expired'), {
    error: { code: 'job_expired' },
    attempts: [{ outcome: 'expired' }],
  });
});

t.test('the history of a job has its states, its session and its text in few pieces', async (t) => {
  const { store, runner } = await startRunner(t, {
    prompts: {
      run: async (_prompt, _caller, emit) => {
        emit({ event: 'session', data: { session_id: 'session-1', model: 'm', skills: [] } });
        for (let n = 0; n < 500; n++) emit({ event: 'text', data: { text: 'x'.repeat(10) } });
        return answer('done');
      },
    },
  });
  runner.start();
  const { job } = await store.add(queuedJob());
  const events = await until('the end is in the history', async () => {
    const found = await store.events(job.id, 0);
    return found.at(-1)?.event === 'state' && found.length > 2 ? found : undefined;
  });
  t.strictSame(
    events.map(({ event }) => event),
    ['state', 'session', 'text', 'text', 'state'],
  );
  t.match(events.at(-1), { data: { state: 'succeeded' } });
});

t.test('a failed job can be run again by a person, and another job cannot', async (t) => {
  const { store, runner, state, jobs, has } = await startRunner(t, {
    script: failing('turn_failed'),
  });
  runner.start();
  const { job } = await store.add(queuedJob());
  await has(job.id, 'failed');
  state.script = async () => answer('this time');
  state.continued = { prompt: { text: 'again' } as Prompt, lost: false };
  await jobs.retry(job.id, 'tests');
  t.match(await has(job.id, 'succeeded'), { error: null, result: { result: 'this time' } });
  await t.rejects(jobs.retry(job.id, 'tests'), { code: 'job_ended' });
  await t.rejects(jobs.read(job.id, 'somebody'), { code: 'job_not_found' });
});

t.test('a job that a person runs again has the right of the token that asks for it', async (t) => {
  const { store, runner, state, jobs, has } = await startRunner(t, {
    script: failing('token_revoked'),
  });
  runner.start();
  const { job } = await store.add(queuedJob({ tokenId: 'old' }));
  await has(job.id, 'failed');
  state.script = async () => answer('this time');
  t.equal((await jobs.retry(job.id, 'tests', 'new')).tokenId, 'new');
  await has(job.id, 'succeeded');
});

t.test('a question of a run that has failed is not answered by its time in the next', async (t) => {
  const { store, jobs } = await startRunner(t);
  const { job } = await store.add(queuedJob());
  await store.update(job.id, (found) =>
    become(become(found, 'running', found.createdAt), 'failed', found.createdAt, {
      approvals: [question('one'), { ...question('another'), used: true }],
    }),
  );
  const { approvals } = await jobs.retry(job.id, 'tests');
  t.match(approvals, [{ used: true, decision: { kind: 'deny', via: 'end' } }, { used: true }]);
});

t.test('an end whose answer was lost is reported as any', async (t) => {
  const store = memoryJobStore();
  let isLost = false;
  const ends: string[] = [];
  const { runner, has } = await startRunner(t, {
    store: Object.assign(Object.create(store) as MemoryJobStore, {
      update: async (id: string, change: (job: Job) => Job | undefined) => {
        const job = await store.update(id, change);
        if (isLost || job?.state !== 'succeeded') return job;
        isLost = true;
        throw new BerthError('job_store_unavailable', 'cannot change the job: for a test');
      },
    }),
    onRun: (job, outcome) => ends.push(`${job.state} ${outcome}`),
  });
  runner.start();
  const { job } = await store.add(queuedJob());
  await has(job.id, 'succeeded');
  await until('the end is reported', () => ends.length > 0);
  t.strictSame(ends, ['succeeded succeeded']);
  t.ok(isLost);
  await until('the end is in the history', async () =>
    (await store.events(job.id, 0)).some(
      ({ event, data }) => event === 'state' && (data as { state: string }).state === 'succeeded',
    ),
  );
});

t.test('a job whose claim succeeded without an answer is queued again, and runs', async (t) => {
  const store = memoryJobStore();
  const { claim } = store;
  let lost = 0;
  store.claim = async (...call) => {
    const job = await claim(...call);
    if (!job || lost++ > 0) return job;
    throw new BerthError('job_store_unavailable', 'cannot read the answer: for a test');
  };
  const { runner, has } = await startRunner(t, { store });
  const { job } = await store.add(queuedJob());
  runner.start();
  t.match(await has(job.id, 'succeeded'), { restarts: 0 });
});

t.test('a claim without an answer is found among many running jobs of others', async (t) => {
  const store = memoryJobStore();
  const { job } = await store.add(runningJob({ id: 'job_0', owner: 'here' }));
  for (let count = 0; count < 250; count++) await store.add(runningJob({ owner: 'another' }));
  store.reclaim = async () => [];
  const { runner, state, has } = await startRunner(t, { store });
  state.continued = { prompt: { text: 'go on' } as Prompt, lost: false };
  runner.start();
  await has(job.id, 'succeeded');
});

t.test('a job is interrupted that runs again while its last run still ends', async (t) => {
  const script = failing('usage_limit');
  const { store, runner, jobs, state, has } = await startRunner(t, { script, workers: 2 });
  runner.start();
  const { job } = await store.add(queuedJob());
  await has(job.id, 'parked');
  let began = false;
  let interrupted = false;
  state.continued = { prompt: { text: 'again' } as Prompt, lost: false };
  state.script = async (_prompt, caller) => {
    began = true;
    caller.addEventListener('abort', () => {
      interrupted = true;
    });
    return await untilAborted(caller);
  };
  await runner.unpark(['usage_limit']);
  await until('the second run', () => began);
  await until('the end of the first run', () => runner.running === 1);
  await jobs.cancel(job.id, undefined);
  await until('the interrupt', () => interrupted);
  await has(job.id, 'cancelled');
});

t.test('a job that is claimed again where it still runs does not run twice at once', async (t) => {
  const order: string[] = [];
  const { store, runner, state, has } = await startRunner(t, { workers: 2 });
  state.continued = { prompt: { text: 'again' } as Prompt, lost: false };
  state.script = async (prompt, caller) => {
    await prompt.onSend?.(sent);
    if (order.push('begins') > 1) return answer('second');
    return await untilAborted(caller).finally(() => order.push('ends'));
  };
  runner.start();
  const { job } = await store.add(queuedJob());
  await until('the prompt runs', () => order.length > 0);
  await store.update(job.id, (stored) => become(stored, 'queued', Date.now()));
  t.match(await has(job.id, 'succeeded'), { result: { result: 'second' } });
  t.strictSame(order, ['begins', 'ends', 'begins']);
});

t.test('a job with a field that this berth does not know waits for a newer one', async (t) => {
  const { store, runner, prompts, has } = await startRunner(t);
  const request = { prompt: 'x', later: true };
  const { job } = await store.add(queuedJob({ request }));
  runner.start();
  const parked = await has(job.id, 'parked');
  t.match(parked, { parked: { reason: 'not_supported' }, attempts: [], request });
  t.strictSame(prompts, []);
});

t.test('a run changes no job that has another claim', async (t) => {
  const { promise: go, resolve } = Promise.withResolvers<void>();
  const { store, runner, state } = await startRunner(t);
  state.script = async (prompt) => {
    await go;
    await prompt.onSend?.(sent);
    return answer('of the first claim');
  };
  runner.start();
  const { job } = await store.add(queuedJob());
  await until('the job runs', () => runner.running === 1);
  const stored = await store.update(job.id, (running) => ({ ...running, claim: 'another' }));
  resolve();
  await until('the run has ended', () => runner.running === 0);
  t.strictSame(await store.read(job.id), stored);
});

t.test('a run ends whose job has ended without it', async (t) => {
  let ended = false;
  const { store, runner, jobs, has } = await startRunner(t, {
    script: async (prompt, caller) => {
      await prompt.onSend?.(sent);
      return untilAborted(caller).finally(() => {
        ended = true;
      });
    },
  });
  runner.start();
  const { job } = await store.add(queuedJob());
  await until('the prompt runs', async () => (await jobs.read(job.id, 'tests')).promptId ?? false);
  const error = { code: 'turn_failed', detail: 'for a test' };
  await store.update(job.id, (stored) => become(stored, 'failed', Date.now(), { error }));
  await until('the run has ended', () => ended && runner.running === 0);
  t.match(await has(job.id, 'failed'), { error });
});

t.test('a job that expires while waiting is counted, and its history has the expiry', async (t) => {
  let expired = 0;
  const { store, runner, has } = await startRunner(t, { onExpired: () => expired++ });
  const { job } = await store.add(queuedJob({ expiresAt: Date.now() - 1 }));
  runner.start();
  await has(job.id, 'expired');
  t.match(await until('the event', async () => (await store.events(job.id, 0))[0]), {
    event: 'state',
    data: { state: 'expired' },
  });
  t.equal(expired, 1);
});

t.test('a turn whose process is lost while it waits for an approval goes on', async (t) => {
  const { store, runner, state, has } = await startRunner(t);
  const { job } = await store.add(queuedJob());
  const read = async () => (await store.read(job.id)) as Job;
  state.script = async ({ onSend, approvals }) => {
    const keeper = approvals as ApprovalKeeper;
    await onSend?.(sent);
    await keeper.wait(question(keeper.newId(1)));
    t.equal((await read()).state, 'parked');
    await keeper.leave();
    t.equal((await read()).state, 'running');
    const second = question(keeper.newId(2));
    await keeper.wait(second);
    const decision = { kind: 'allow', via: 'token', by: 'boss', at: Date.now() } as const;
    const decided = { ...decision, message: null, updatedInput: null };
    await keeper.goOn({ ...(await keeper.decide(second.id, decided)), used: true });
    const { state, approvals: known } = await read();
    t.equal(state, 'running', 'although the first question is open');
    t.equal(carryOnWith(known), undefined, 'its call is not ordered again');
    return answer('done');
  };
  runner.start();
  t.match((await has(job.id, 'succeeded')).attempts, [{ outcome: 'succeeded' }]);
});
