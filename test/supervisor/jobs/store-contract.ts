/**
 * The tests that every store of jobs must pass.
 * Invariant: a test uses only the interface JobStore and the fixture, and times of its own. A store that uses the real
 * clock for more than its own patience and signs of life cannot pass.
 */
import type { Test } from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { type Approval, idInJob } from '../../../supervisor/approvals/approval.ts';
import { LiveApprovals } from '../../../supervisor/approvals/live-approvals.ts';
import { Approvals } from '../../../supervisor/jobs/approvals.ts';
import { become, type Job, type JobChange } from '../../../supervisor/jobs/job.ts';
import { waitFor } from '../../../supervisor/jobs/job-approvals.ts';
import type { JobStore } from '../../../supervisor/jobs/job-store.ts';
import { sampleJob, sampleResult, waitingCallback } from '../../support/stored-job.ts';
import { until } from '../../support/until.ts';

export interface StoreFixture {
  /** An empty store. */
  store: JobStore;
  /** Closes the store and opens it again; absent if the store keeps nothing. */
  reopen?: () => Promise<JobStore>;
  /** Lets so many milliseconds pass without a sign of life of the owners; absent if the store needs none. */
  age?: (milliseconds: number) => Promise<void>;
}

export interface ContractOptions {
  /** Milliseconds without `keepAlive` after which an owner is gone; 0 if each other owner is gone at once. */
  lostAfter?: number;
  /** The most unfinished jobs of the stores that the factory makes; an even number of more than 102. */
  most: number;
}

const minute = 60_000;
const hour = 60 * minute;
const start = 1_000;

/** Registers the contract as subtests. @param makeStore opens an empty store and closes it at the end of the test */
export function testJobStore(
  t: Test,
  makeStore: (t: Test) => Promise<StoreFixture>,
  { lostAfter = 0, most }: ContractOptions,
): void {
  const test = (name: string, run: (t: Test, fixture: StoreFixture) => Promise<void>): void =>
    void t.test(name, async (t) => run(t, await makeStore(t)));

  test('a job is read as it was added', async (t, { store, reopen }) => {
    const job = sampleJob({
      metadata: { workflow: 'nightly' },
      callback: waitingCallback,
      request: { prompt: 'Läuft „alles“? \u0000 😀', output_schema: { type: 'object' } },
      expiresAt: 9_000,
    });
    t.strictSame(await store.add(job), { job, created: true });
    t.strictSame(await store.read(job.id), job);
    t.equal(await store.read('job_none'), undefined);
    t.equal(await store.readHead('job_none'), undefined);
    if (reopen) t.strictSame(await (await reopen()).read(job.id), job, 'after a restart');
  });

  test('a callback keeps what was counted, and the fields of a later berth', async (t, fixture) => {
    const { store, reopen } = fixture;
    const job = sampleJob({ callback: waitingCallback });
    await store.add(job);
    const callback = { ...waitingCallback, attempts: 3, refused: 2, conflicts: 1, laterField: 'x' };
    await store.update(job.id, (stored) => ({ ...stored, callback }));
    t.strictSame((await store.read(job.id))?.callback, callback);
    t.strictSame((await (await reopen?.())?.read(job.id))?.callback ?? callback, callback);
  });

  test('a request of a later berth is kept as it is', async (t, { store, reopen }) => {
    const fields = { laterField: { depth: 1 }, workspace: { repo: 'you/app', later: true } };
    const job = sampleJob({ request: { prompt: 'x', ...fields } as Job['request'] });
    await store.add(job);
    const opened = (await reopen?.()) ?? store;
    t.strictSame(await opened.read(job.id), job);
    t.match(await opened.claim('a', 2_000), { id: job.id, request: fields });
    await opened.update(job.id, (now) => become(now, 'queued', 2_000));
    t.strictSame((await opened.read(job.id))?.request, job.request);
  });

  test('a key returns the first job, and another body is refused', async (t, { store, reopen }) => {
    const job = sampleJob();
    const key = { key: 'run 7', digest: 'a' };
    await store.add(job, key);
    const again = await store.add(sampleJob(), key);
    t.match(again, { created: false, job: { id: job.id } });
    await t.rejects(store.add(sampleJob(), { ...key, digest: 'b' }), {
      code: 'idempotency_mismatch',
    });
    const other = await store.add(sampleJob({ token: 'other' }), { ...key, digest: 'b' });
    t.equal(other.created, true, 'the key of another token is another key');
    const reopened = (await reopen?.()) ?? store;
    t.match(await reopened.add(sampleJob(), key), { created: false, job: { id: job.id } });
    t.equal((await reopened.list({ limit: 10 })).jobs.length, 2);
  });

  test('a job is found by the key of its token', async (t, { store }) => {
    const job = sampleJob();
    const key = { key: 'run 7', digest: 'a' };
    t.equal(await store.findByKey('ci', key), undefined);
    await store.add(job, key);
    await end(store, job, 'succeeded', { result: sampleResult() });
    t.match(await store.findByKey('ci', key), { id: job.id, state: 'succeeded', result: {} });
    t.equal(await store.findByKey('other', key), undefined);
    await t.rejects(store.findByKey('ci', { ...key, digest: 'b' }), {
      code: 'idempotency_mismatch',
    });
    await store.remove(job.id);
    t.equal(await store.findByKey('ci', key), undefined);
  });

  test('an approval whose process was killed is decided once, and the job goes on after 10 s', async (t, {
    store,
  }) => {
    const { id } = (await store.add(sampleJob())).job;
    await store.claim('killed', start);
    const approval: Approval = {
      ...{ id: idInJob(id, 1), tool: 'Bash', input: { command: 'push' }, toolUseId: 'toolu_1' },
      ...{ description: null, askedAt: start, expiresAt: hour, decision: null },
      ...{ used: false, links: [], notified: true },
    };
    await store.update(id, (job) => waitFor(job, approval, 'killed', start));
    const rules = { approvers: ['boss'], ownPrompts: false } as never;
    const [one, other] = [1, 2].map(
      () =>
        new Approvals({ live: new LiveApprovals(), store, rulesOf: () => rules, now: () => start }),
    );
    t.match(await one?.list('boss'), [{ approval: { id: approval.id }, context: { jobId: id } }]);
    const outcomes = await Promise.allSettled([
      one?.decide(approval.id, 'boss', { kind: 'allow' }),
      other?.decide(approval.id, 'boss', { kind: 'deny' }),
    ]);
    t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
    t.match(
      outcomes.find(({ status }) => status === 'rejected'),
      { reason: { code: 'approval_ended' } },
    );
    const decision = outcomes[0]?.status === 'fulfilled' ? 'allow' : 'deny';
    t.equal(await store.claim('owner', start + 9_999), undefined, 'its process may go on');
    const claimed = await store.claim('owner', start + 10_000);
    t.match(claimed, {
      id,
      state: 'running',
      approvals: [{ id: approval.id, decision: { kind: decision } }],
    });
    t.equal(claimed?.approvals?.length, 1);
  });

  test('of many requests with one key, one creates the job', async (t, { store }) => {
    const key = { key: 'once', digest: 'a' };
    const added = await Promise.all(Array.from({ length: 8 }, () => store.add(sampleJob(), key)));
    t.equal(added.filter(({ created }) => created).length, 1);
    t.equal(new Set(added.map(({ job }) => job.id)).size, 1);
  });

  test('a store with too many unfinished jobs accepts none', async (t, { store }) => {
    const tokens = ['a', 'b'];
    const jobs = Array.from({ length: most }, (_, at) =>
      sampleJob({ token: tokens[at % 2] ?? '' }),
    );
    await Promise.all(jobs.map((job) => store.add(job)));
    await t.rejects(store.add(sampleJob()), {
      code: 'jobs_full',
      message: `${most} jobs have not`,
    });
    await end(store, jobs[0] as Job, 'cancelled');
    t.equal((await store.add(sampleJob())).created, true);
  });

  test('one token may have half of the unfinished jobs', async (t, { store }) => {
    const jobs = Array.from({ length: most / 2 }, () => sampleJob());
    await Promise.all(jobs.map((job) => store.add(job)));
    const key = { key: 'k', digest: 'a' };
    await t.rejects(store.add(sampleJob(), key), {
      code: 'jobs_full',
      message: /the token ci has .*half of BERTH_JOB_QUEUE_LIMIT/,
    });
    t.equal((await store.add(sampleJob({ token: 'other' }))).created, true);
    await end(store, jobs[0] as Job, 'cancelled');
    t.equal((await store.add(sampleJob(), key)).created, true, 'the key was not taken');
  });

  test('a job that runs again is one of the unfinished jobs', async (t, { store }) => {
    const jobs = Array.from({ length: most / 2 }, () => sampleJob());
    await Promise.all(jobs.map((job) => store.add(job)));
    const [failed] = jobs as [Job];
    await end(store, failed, 'failed');
    await store.add(sampleJob());
    const again = () => store.update(failed.id, (job) => become(job, 'queued', start));
    await t.rejects(again(), { code: 'jobs_full', message: /the token ci has/ });
    t.match(await store.read(failed.id), { state: 'failed' });
    await end(store, jobs[1] as Job, 'cancelled');
    t.match(await again(), { state: 'queued' });
  });

  test('a list has pages, the newest job first, without prompts and results', async (t, {
    store,
  }) => {
    const jobs = Array.from({ length: 5 }, () => sampleJob());
    for (const job of jobs) await store.add(job);
    await end(store, jobs[4] as Job, 'succeeded', { result: sampleResult() });
    const seen: Job[] = [];
    let cursor: string | undefined;
    do {
      const page = await store.list({ token: 'ci', limit: 2, cursor });
      t.ok(page.jobs.length <= 2);
      seen.push(...page.jobs);
      cursor = page.cursor ?? undefined;
    } while (cursor !== undefined);
    t.strictSame(
      seen.map(({ id }) => id),
      jobs.map(({ id }) => id).reverse(),
    );
    t.equal(seen[0]?.result, null);
    t.equal(seen[1]?.request.prompt, '');
  });

  test('a list can be filtered', async (t, { store }) => {
    const wanted = sampleJob({ metadata: { team: 'a', run: '7' }, profile: 'docs' });
    const rest = [
      sampleJob({ token: 'other' }),
      sampleJob({ metadata: { team: 'a' } }),
      sampleJob({ state: 'scheduled', dueAt: hour, notBefore: hour }),
    ];
    for (const job of [wanted, ...rest]) await store.add(job);
    const ids = async (query: Partial<Parameters<JobStore['list']>[0]>): Promise<string[]> =>
      (await store.list({ limit: 10, ...query })).jobs.map(({ id }) => id);
    t.strictSame(await ids({ token: 'other' }), [rest[0]?.id]);
    t.strictSame(await ids({ profile: 'docs' }), [wanted.id]);
    t.strictSame(await ids({ metadata: { run: '7', team: 'a' } }), [wanted.id]);
    t.strictSame(await ids({ metadata: { run: '8', team: 'a' } }), []);
    t.strictSame(await ids({ states: ['scheduled', 'failed'], token: 'ci' }), [rest[2]?.id]);
    t.equal((await ids({})).length, 4);
    await t.rejects(store.list({ limit: 10, cursor: "' OR 1" }), { code: 'invalid_request' });
  });

  test('a list has the jobs that are parked for a reason', async (t, { store }) => {
    const parked = (reason: string): Job =>
      sampleJob({ state: 'parked', parked: { reason, until: null }, dueAt: hour });
    const jobs = [parked('approval'), parked('approval'), parked('paused'), parked('approval')];
    for (const job of jobs) await store.add(job);
    const [first, second, , third] = jobs.map(({ id }) => id);
    const query = { parked: 'approval', limit: 2 };
    const page = await store.list(query);
    t.strictSame(
      page.jobs.map(({ id }) => id),
      [third, second],
    );
    const next = await store.list({ ...query, cursor: page.cursor ?? '' });
    t.match(next, { jobs: [{ id: first }], cursor: null });
    await store.update(third ?? '', (job) => become(job, 'queued', start));
    await store.update(second ?? '', (job) => ({
      ...job,
      parked: { reason: 'paused', until: null },
    }));
    t.strictSame(
      (await store.list(query)).jobs.map(({ id }) => id),
      [first],
    );
  });

  test('updates at the same time lose nothing', async (t, { store, reopen }) => {
    const job = sampleJob();
    await store.add(job);
    const note = (text: string) =>
      store.update(job.id, (now) => ({ ...now, notes: [...now.notes, text] }));
    const texts = Array.from({ length: 10 }, (_, index) => `note ${index}`);
    await Promise.all(texts.map(note));
    const stored = await ((await reopen?.()) ?? store).read(job.id);
    t.strictSame([...(stored?.notes ?? [])].sort(), texts);
  });

  test('an update without a change writes nothing, and one that throws neither', async (t, {
    store,
  }) => {
    const job = sampleJob();
    await store.add(job);
    t.strictSame(await store.update(job.id, () => undefined), job);
    t.equal(await store.update('job_none', (now) => now), undefined);
    await t.rejects(
      store.update(job.id, () => {
        throw new BerthError('job_ended', 'cannot');
      }),
      { code: 'job_ended' },
    );
    t.strictSame(await store.read(job.id), job);
  });

  test('a result is read as it was written', async (t, { store, reopen }) => {
    for (const text of ['short', 'ä'.repeat(1_200_000)]) {
      const job = sampleJob();
      await store.add(job);
      await end(store, job, 'succeeded', { result: sampleResult(text) });
      const opened = (await reopen?.()) ?? store;
      const stored = await opened.read(job.id);
      t.equal(stored?.result?.result === text, true);
      const head = stored && { ...stored, request: { prompt: '' }, result: null };
      t.strictSame(await opened.readHead(job.id), head, 'a head has neither request nor result');
      if (reopen) return;
    }
  });

  test('a claimed job runs with its owner, and is not claimed again', async (t, { store }) => {
    const job = sampleJob();
    await store.add(job);
    const claimed = await store.claim('a', 2_000);
    const claim = claimed?.claim ?? '';
    t.strictSame(claimed, { ...job, state: 'running', owner: 'a', claim, startedAt: 2_000 });
    t.equal(await store.claim('b', 2_000), undefined);
    t.strictSame(await store.read(job.id), claimed);
    const queued = await store.update(job.id, (now) => become(now, 'queued', 2_000));
    t.equal(queued?.claim, undefined);
    const again = await store.claim('a', 2_000);
    t.ok(claim && again?.claim && claim !== again.claim, 'each claim has an id of its own');
  });

  test('claimers at the same time never get one job', async (t, { store }) => {
    for (let count = 0; count < 10; count++) await store.add(sampleJob());
    const claimed = await Promise.all(
      Array.from({ length: 16 }, (_, index) => store.claim(`owner ${index % 2}`, 2_000)),
    );
    const ids = claimed.flatMap((job) => job?.id ?? []);
    t.equal(ids.length, 10);
    t.equal(new Set(ids).size, 10);
  });

  test('jobs wait until they are due', async (t, { store }) => {
    const scheduled = sampleJob({ state: 'scheduled', notBefore: hour, dueAt: hour });
    const parked = sampleJob({
      state: 'parked',
      parked: { reason: 'usage_limit', until: 2 * hour },
      dueAt: 2 * hour,
    });
    const pausing = sampleJob({ dueAt: 3 * minute });
    for (const job of [scheduled, parked, pausing]) await store.add(job);
    t.equal(await store.claim('a', start), undefined);
    t.equal((await store.nextDue(start)).job, 3 * minute);
    t.equal((await store.claim('a', 3 * minute))?.id, pausing.id);
    t.equal((await store.nextDue(3 * minute)).job, hour);
    t.equal((await store.claim('a', hour))?.id, scheduled.id);
    t.match(await store.claim('a', 2 * hour), { id: parked.id, parked: null, state: 'running' });
    t.equal((await store.nextDue(2 * hour)).job, undefined);
  });

  test('a waiting job past its expiry ends, and is not claimed', async (t, { store }) => {
    const jobs = [
      sampleJob({ expiresAt: minute, callback: waitingCallback }),
      sampleJob({ expiresAt: minute, state: 'scheduled', dueAt: hour }),
      sampleJob({ expiresAt: 30 * minute, dueAt: 50 * minute }),
    ];
    for (const job of jobs) await store.add(job);
    const expired: string[] = [];
    store.onExpired(({ id, state }) => expired.push(`${state} ${id}`));
    t.equal(await store.claim('a', minute), undefined);
    t.same(
      expired.sort(),
      jobs
        .slice(0, 2)
        .map(({ id }) => `expired ${id}`)
        .sort(),
    );
    const [first, second, third] = await Promise.all(jobs.map(({ id }) => store.read(id)));
    t.match(first, { state: 'expired', endedAt: minute, error: { code: 'job_expired' } });
    t.match(first?.callback, { state: 'pending', nextAt: minute });
    t.equal(second?.state, 'expired');
    t.equal(third?.state, 'queued');
    // A store may still be making the entry of an expired job in a queue: the next claim drops it.
    await until('the expiry of the third is next', async () => {
      t.equal(await store.claim('a', minute), undefined);
      return (await store.nextDue(minute)).job === 30 * minute;
    });
  });

  test('jobs of one session run in the order of their creation', async (t, { store }) => {
    const fields = { sessionId: 's', ownSession: true };
    const first = sampleJob({ ...fields, priority: 'background' });
    const second = sampleJob(fields);
    const third = sampleJob({ ...fields, token: 'other' });
    const elsewhere = sampleJob({ sessionId: 't', token: 'other' });
    for (const job of [first, second, third, elsewhere]) await store.add(job);
    t.equal((await store.claim('a', start))?.id, elsewhere.id);
    t.equal((await store.claim('a', start))?.id, first.id);
    t.equal(await store.claim('a', start), undefined, 'the first one runs');
    await store.update(first.id, (job) => park(job, 'paused', hour));
    t.equal(await store.claim('a', start), undefined, 'the first one is parked');
    t.equal((await store.claim('a', hour))?.id, first.id);
    await end(store, first, 'succeeded', { result: sampleResult() });
    t.equal((await store.claim('a', hour))?.id, second.id);
    await end(store, third, 'cancelled');
    await end(store, second, 'failed', { error: { code: 'turn_failed', detail: 'no' } });
    t.equal(await store.claim('a', hour), undefined);
  });

  test('a job that begins a session keeps later jobs of it waiting', async (t, { store }) => {
    const begins = sampleJob();
    await store.add(begins);
    await store.claim('a', start);
    await store.update(begins.id, (job) => ({ ...job, sessionId: 'new' }));
    const later = sampleJob({ sessionId: 'new', ownSession: true });
    await store.add(later);
    t.equal(await store.claim('a', start), undefined);
    await store.update(begins.id, (job) => ({ ...job, sessionId: 'other' }));
    t.equal((await store.claim('a', start))?.id, later.id, 'the first one left the session');
  });

  test('a job that is run again waits for a later job of its session that runs', async (t, {
    store,
  }) => {
    const jobs = [sampleJob({ sessionId: 's' }), sampleJob({ sessionId: 's' })];
    for (const job of jobs) await store.add(job);
    const [first, second] = jobs as [Job, Job];
    await store.claim('a', start);
    await end(store, first, 'failed', { error: { code: 'turn_failed', detail: 'no' } });
    t.equal((await store.claim('a', start))?.id, second.id);
    await store.update(first.id, (job) => become(job, 'queued', start));
    t.equal(await store.claim('a', start), undefined, 'the second one runs');
    await store.update(second.id, (job) => become(job, 'queued', start));
    const next = await store.claim('a', start);
    t.ok(next, 'one of the two runs when both are queued');
    t.equal(await store.claim('a', start), undefined);
    await end(store, next as Job, 'succeeded', { result: sampleResult() });
    const last = await store.claim('a', start);
    t.strictSame([next?.id, last?.id].sort(), [first.id, second.id].sort());
  });

  test('a job that is run again waits, also after the end of a job behind it', async (t, {
    store,
  }) => {
    const jobs = [1, 2, 3].map(() => sampleJob({ sessionId: 's' }));
    for (const job of jobs) await store.add(job);
    const [first = '', second = '', third = ''] = jobs.map(({ id }) => id);
    const change = (id: string, state: Job['state']) =>
      store.update(id, (job) => become(job, state, start));
    t.equal((await store.claim('a', start))?.id, first);
    await change(first, 'failed');
    t.equal((await store.claim('a', start))?.id, second);
    await change(first, 'queued');
    await change(third, 'cancelled');
    t.equal(await store.claim('a', start), undefined, 'the second one runs');
    await change(second, 'succeeded');
    t.equal((await store.claim('a', start))?.id, first);
  });

  test('of one session one job runs, also when jobs are run again during claims', async (t, {
    store,
  }) => {
    for (let round = 0; round < 6; round++) {
      const sessionId = `s${round}`;
      const jobs = [sampleJob({ sessionId }), sampleJob({ sessionId })];
      const [first, second] = jobs as [Job, Job];
      await store.add(first);
      await end(store, first, 'failed', { error: { code: 'turn_failed', detail: 'no' } });
      await store.add(second);
      const [, ...claimed] = await Promise.all([
        store.update(first.id, (job) => become(job, 'queued', start)),
        ...Array.from({ length: 4 }, () => store.claim('a', start)),
      ]);
      const running = [...claimed, await store.claim('a', start)].flatMap((job) => job ?? []);
      t.equal(running.length, 1, `round ${round}`);
      await end(store, running[0] as Job, 'succeeded', { result: sampleResult() });
      const last = await store.claim('a', start);
      t.strictSame([running[0]?.id, last?.id].sort(), [first.id, second.id].sort());
      await end(store, last as Job, 'succeeded', { result: sampleResult() });
    }
  });

  test('tokens take turns', async (t, { store }) => {
    const jobs = ['a', 'a', 'a', 'b', 'b', 'c'].map((token) => sampleJob({ token }));
    for (const job of jobs) await store.add(job);
    const order: string[] = [];
    for (let count = 0; count < 6; count++) {
      order.push((await store.claim('owner', 2_000))?.token ?? '');
    }
    t.strictSame([...order.slice(0, 3)].sort(), ['a', 'b', 'c']);
    t.strictSame([...order.slice(3, 5)].sort(), ['a', 'b']);
    t.equal(order[5], 'a');
  });

  test('background jobs come after all others', async (t, { store }) => {
    const background = sampleJob({ priority: 'background', token: 'b' });
    const normal = [sampleJob(), sampleJob()];
    for (const job of [background, ...normal]) await store.add(job);
    const order = [];
    for (let count = 0; count < 3; count++) order.push((await store.claim('a', 2_000))?.id);
    t.strictSame(order, [...normal.map(({ id }) => id), background.id]);
  });

  test('jobs that the caller does not accept are skipped, and others run', async (t, { store }) => {
    const held = Array.from({ length: 50 }, () => sampleJob({ token: 'held' }));
    const free = sampleJob({ token: 'held', profile: 'other' });
    for (const job of [...held, free]) await store.add(job);
    const accepts = ({ profile }: Pick<Job, 'profile'>): boolean => profile === 'other';
    t.equal((await store.claim('a', 2_000, accepts))?.id, free.id);
    t.equal(await store.claim('a', 2_000, accepts), undefined);
    t.equal((await store.claim('a', 2_000))?.id, held[0]?.id, 'they kept their place');
  });

  test('a clock that was set back delays only jobs that their callers delayed', async (t, {
    store,
  }) => {
    const early = 10 * hour;
    const plain = sampleJob({ createdAt: 100 * hour });
    const pausing = sampleJob({ createdAt: 100 * hour, dueAt: 100 * hour + minute });
    const scheduled = sampleJob({ state: 'scheduled', createdAt: early, dueAt: 100 * hour });
    for (const job of [plain, pausing, scheduled]) await store.add(job);
    t.equal((await store.claim('a', early))?.id, plain.id);
    t.equal((await store.claim('a', early))?.id, pausing.id);
    t.equal(await store.claim('a', early), undefined, 'its time was given by the caller');
  });

  test('a job that another clock made due is given at its time by this one', async (t, {
    store,
  }) => {
    const delayed = sampleJob({ createdAt: start, dueAt: 2_500 });
    await store.add(delayed);
    await store.advance(3_000);
    t.equal(await store.claim('a', 2_000), undefined);
    t.match(await store.claim('a', 2_600), { id: delayed.id });
  });

  test('without a claim, due jobs are queued and late jobs expire', async (t, { store }) => {
    const expired: string[] = [];
    store.onExpired(({ id }) => void expired.push(id));
    const parked = sampleJob();
    await store.add(parked);
    await store.claim('a', start);
    await store.update(parked.id, (job) =>
      become(job, 'parked', start, {
        parked: { reason: 'overloaded', until: null },
        dueAt: start + minute,
      }),
    );
    const late = sampleJob({ expiresAt: start + minute });
    const scheduled = sampleJob({ state: 'scheduled', dueAt: start + hour });
    for (const job of [late, scheduled]) await store.add(job);
    const states = () =>
      Promise.all([parked, late, scheduled].map(async ({ id }) => (await store.read(id))?.state));
    await store.advance(start + 1);
    t.strictSame(await states(), ['parked', 'queued', 'scheduled']);
    await store.advance(start + 2 * minute);
    t.strictSame(await states(), ['queued', 'expired', 'scheduled']);
    t.strictSame(expired, [late.id]);
    await store.advance(start + hour);
    t.strictSame(await states(), ['queued', 'expired', 'queued']);
    t.equal((await store.claim('a', start + hour))?.id, parked.id);
  });

  test('jobs of an owner that is gone are queued again', async (t, { store, age }) => {
    const job = sampleJob();
    await store.add(job);
    await store.keepAlive('gone');
    await store.claim('gone', start);
    await store.update(job.id, (now) => ({ ...now, sessionId: 's', promptId: 'p' }));
    const later = start + 10 * hour;
    await age?.(lostAfter / 2);
    if (age) t.strictSame(await store.reclaim('b', later), [], 'not yet');
    await age?.(lostAfter);
    await store.keepAlive('b');
    t.match(await store.reclaim('b', later), [
      { id: job.id, state: 'queued', owner: null, sessionId: 's', promptId: 'p', restarts: 1 },
    ]);
    t.strictSame(await store.reclaim('b', later), []);
    t.equal((await store.claim('b', later))?.id, job.id);
    t.strictSame(await store.reclaim('b', later), [], 'its own jobs are not reclaimed');
  });

  test('parked jobs are made due by their reason, spread over time', async (t, { store }) => {
    const parked = (reason: string): Job =>
      sampleJob({ state: 'parked', parked: { reason, until: null }, dueAt: 5 * hour });
    const jobs = Array.from({ length: 10 }, () => parked('login_required'));
    const other = parked('paused');
    for (const job of [...jobs, other]) await store.add(job);
    t.equal(await store.unpark(['login_required', 'usage_limit'], hour, minute), 10);
    const due = await Promise.all(jobs.map(async ({ id }) => (await store.read(id))?.dueAt ?? 0));
    t.ok(due.every((at) => at >= hour && at <= hour + minute));
    t.ok(new Set(due).size > 1);
    t.ok(await store.claim('a', hour + minute));
    t.equal((await store.read(other.id))?.dueAt, 5 * hour);
    t.equal(await store.unpark(['paused'], hour, 0), 1);
    t.equal((await store.read(other.id))?.dueAt, hour);
  });

  test('a callback is given once in its lease', async (t, { store }) => {
    const job = sampleJob({ callback: waitingCallback });
    await store.add(job);
    t.equal(await store.claimCallback(start, minute), undefined, 'the job has not ended');
    t.equal((await store.nextDue(start)).callback, undefined);
    await end(store, job, 'succeeded', { result: sampleResult() });
    t.not((await store.nextDue(start)).callback, undefined);
    const given = await Promise.all([1, 2].map(() => store.claimCallback(hour, minute)));
    t.strictSame(
      given.map((each) => each?.id).sort(),
      [job.id, undefined].sort(),
      'one of two gets it',
    );
    t.equal(given.find(Boolean)?.result?.result, 'Looks good.');
    t.equal((await store.nextDue(hour)).callback, hour + minute);
    t.equal(await store.claimCallback(hour + minute - 1, minute), undefined);
    t.equal((await store.claimCallback(hour + minute, minute))?.id, job.id);
    await store.update(job.id, (now) => ({
      ...now,
      callback: now.callback && { ...now.callback, state: 'delivered', nextAt: null },
    }));
    t.equal(await store.claimCallback(9 * hour, minute), undefined);
  });

  test('events have ids without gaps, of which the newest 1,000 are kept', async (t, {
    store,
    reopen,
  }) => {
    const job = sampleJob();
    await store.add(job);
    t.strictSame(await store.events(job.id, 0), []);
    for (let batch = 0; batch < 12; batch++) {
      const events = Array.from({ length: 100 }, (_, index) => ({
        at: start + batch,
        event: 'delta',
        data: { text: `${batch} ${index}` },
      }));
      await store.appendEvents(job.id, events);
    }
    const kept = await ((await reopen?.()) ?? store).events(job.id, 0);
    t.strictSame(
      kept.map(({ id }) => id),
      Array.from({ length: 1_000 }, (_, index) => 201 + index),
    );
    t.strictSame(kept[0], { id: 201, at: start + 2, event: 'delta', data: { text: '2 0' } });
    if (!reopen) t.equal((await store.events(job.id, 1_198)).length, 2);
  });

  test('an ended job can be removed, with its key and its events', async (t, { store }) => {
    const job = sampleJob();
    const key = { key: 'k', digest: 'a' };
    await store.add(job, key);
    await store.appendEvents(job.id, [{ at: 1, event: 'queued', data: null }]);
    t.equal(await store.remove(job.id), false, 'it has not ended');
    await end(store, job, 'cancelled');
    t.equal(await store.remove(job.id), true);
    t.equal(await store.remove(job.id), false);
    t.equal(await store.read(job.id), undefined);
    t.strictSame(await store.events(job.id, 0), []);
    t.equal((await store.add(sampleJob(), key)).created, true);
  });

  test('pruning removes ended jobs by age, count and bytes, the oldest first', async (t, {
    store,
  }) => {
    const jobs = Array.from({ length: 6 }, () => sampleJob());
    for (const job of jobs) await store.add(job);
    for (const [index, job] of jobs.slice(0, 5).entries()) {
      await end(store, job, 'cancelled', {}, (index + 1) * minute);
    }
    const ids = jobs.map(({ id }) => id);
    const bounds = { endedBefore: 0, mostJobs: 100, mostBytes: 1e9 };
    t.strictSame(await store.prune(bounds), []);
    t.strictSame(await store.prune({ ...bounds, endedBefore: 2 * minute }), [
      { id: ids[0], state: 'cancelled' },
    ]);
    const byCount = await store.prune({ ...bounds, mostJobs: 3 });
    t.strictSame(byCount, [{ id: ids[1], state: 'cancelled' }]);
    t.equal((await store.prune({ ...bounds, mostBytes: 1 })).length, 3);
    const left = await store.list({ limit: 10 });
    t.strictSame(
      left.jobs.map(({ id }) => id),
      [ids[5]],
      'a job that has not ended stays',
    );
  });

  test('the bytes of an ended job are also those of its events', async (t, { store }) => {
    const events = ['x', 'y'].map((text) => ({
      ...{ at: start, event: 'delta', data: { text: text.repeat(100_000) } },
    }));
    const jobs = [sampleJob(), sampleJob(), sampleJob(), sampleJob()];
    const [before, after, again, small] = jobs as [Job, Job, Job, Job];
    for (const job of jobs) await store.add(job);
    for (const job of [before, again]) await store.appendEvents(job.id, events);
    // A job that runs again does not count.
    await end(store, again, 'failed', { error: { code: 'turn_failed', detail: 'no' } });
    await store.update(again.id, (job) => become(job, 'queued', start));
    for (const [index, job] of [before, after, small].entries()) {
      await end(store, job, 'cancelled', {}, (index + 1) * minute);
    }
    await store.appendEvents(after.id, events);
    const removed = async (mostBytes: number): Promise<string[]> =>
      (await store.prune({ endedBefore: 0, mostJobs: 100, mostBytes })).map(({ id }) => id);
    t.strictSame(await removed(500_000), []);
    t.strictSame(await removed(300_000), [before.id]);
    t.strictSame(await removed(100_000), [after.id]);
    t.strictSame(await removed(20_000), [], 'a small one stays');
  });

  test('jobs are counted by state, reason and callback', async (t, { store }) => {
    const ended = sampleJob({ callback: waitingCallback });
    const jobs = [
      sampleJob({ dueAt: 7_000 }),
      sampleJob({ dueAt: 5_000 }),
      sampleJob({ state: 'parked', parked: { reason: 'paused', until: null }, dueAt: hour }),
      ended,
    ];
    for (const job of jobs) await store.add(job);
    await end(store, ended, 'cancelled', {}, 4_000);
    const counts = await store.counts(9_000);
    t.match(counts.byState, { queued: 2, parked: 1, cancelled: 1, running: 0, expired: 0 });
    t.strictSame(counts.parked, { paused: 1 });
    t.equal(counts.oldestQueued, 5_000);
    t.strictSame(counts.callbacks, { pending: 1, oldest: 4_000 });
  });

  test('listeners hear of changes until they leave', async (t, { store }) => {
    const heard: (string | undefined)[] = [];
    const leave = store.onChange((id) => heard.push(id));
    const job = sampleJob();
    await store.add(job);
    await until('the new job is heard of', () => heard.length > 0);
    heard.length = 0;
    await store.appendEvents(job.id, [{ at: 1, event: 'queued', data: null }]);
    await until('the event is heard of', () => heard.length > 0);
    t.ok(heard.every((id) => id === job.id || id === undefined));
    leave();
  });

  test('a closed store refuses calls, and can be closed twice', async (t, { store }) => {
    t.match(store.describe(), { available: true, problem: null });
    await store.close();
    await store.close();
    await t.rejects(store.add(sampleJob()), { code: 'job_store_unavailable' });
  });
}

function park(job: Job, reason: string, until: number): Job {
  return become(job, 'parked', start, { parked: { reason, until }, dueAt: until });
}

/** Ends a job, which runs for that if the state needs it. */
async function end(
  store: JobStore,
  { id }: Job,
  state: 'succeeded' | 'failed' | 'cancelled',
  change: JobChange = {},
  now = start,
): Promise<void> {
  await store.update(id, (job) => {
    const runs = state === 'succeeded' && job.state === 'queued';
    const running = runs ? become(job, 'running', now, { owner: 'test' }) : job;
    return become(running, state, now, change);
  });
}
