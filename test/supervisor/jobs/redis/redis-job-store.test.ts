/** What the store on Redis does beside the contract: loss of the server, checks, several replicas, repair. */
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { BerthError } from '../../../../shared/errors.ts';
import { become, type Job } from '../../../../supervisor/jobs/job.ts';
import { Keys } from '../../../../supervisor/jobs/redis/keys.ts';
import {
  RedisJobStore,
  type RedisJobStoreOptions,
} from '../../../../supervisor/jobs/redis/redis-job-store.ts';
import { captureLog } from '../../../support/captured-log.ts';
import {
  cannotRunRedis,
  patience,
  redisPassword,
  redisServer,
} from '../../../support/redis-server.ts';
import { waitingCallback } from '../../../support/stored-job.ts';
import { tcpProxy } from '../../../support/tcp-proxy.ts';
import { until } from '../../../support/until.ts';

const skip = cannotRunRedis();
const server = skip ? { url: '', port: 0 } : await redisServer(t);
let names = 0;
let ids = 0;

/** Stores with the same name share their jobs. */
async function openStore(
  test: Test,
  options: Partial<RedisJobStoreOptions> = {},
): Promise<RedisJobStore> {
  const store = new RedisJobStore({
    ...{ url: server.url, log: captureLog().log, name: `test-${names++}`, replica: 'a' },
    deadline: patience,
    ...options,
  });
  await store.open();
  test.teardown(() => store.close());
  return store;
}

function newJob(change: Partial<Job> = {}): Job {
  return {
    id: `job_${String(ids++).padStart(12, '0')}`,
    token: 'n8n',
    tokenId: null,
    state: 'queued',
    request: { prompt: 'hello' },
    priority: 'normal',
    profile: 'default',
    sessionId: null,
    ownSession: false,
    promptId: null,
    metadata: {},
    timeout: 1_000,
    maxAttempts: 3,
    createdAt: Date.now(),
    startedAt: null,
    endedAt: null,
    notBefore: null,
    expiresAt: null,
    attempts: [],
    restarts: 0,
    parkings: 0,
    parked: null,
    dueAt: Date.now(),
    owner: null,
    result: null,
    error: null,
    notes: [],
    callback: null,
    ...change,
  };
}

const end = (job: Job): Job => become(job, 'cancelled', Date.now());

/** What a store claims when it has read the signs of life again. */
async function claimOf(store: RedisJobStore, owner: string): Promise<Job | undefined> {
  await store.beat();
  return store.claim(owner, Date.now());
}

/** What a store answers once it can use the server again. */
async function answerOf<T>(what: string, command: () => Promise<T>): Promise<T> {
  const { answer } = await until(what, () =>
    command().then(
      (answer) => ({ answer }),
      () => undefined,
    ),
  );
  return answer;
}

t.test(
  'tokens take turns, normal jobs first, and a token without a turn is passed over',
  { skip },
  async (t) => {
    const store = await openStore(t);
    const jobs = [
      newJob({ token: 'a', priority: 'background' }),
      ...[newJob({ token: 'a' }), newJob({ token: 'a' }), newJob({ token: 'a' })],
      ...[newJob({ token: 'b' }), newJob({ token: 'c' })],
    ];
    for (const job of jobs) await store.add(job);
    const order: (string | undefined)[] = [];
    for (;;) {
      const job = await store.claim('owner', Date.now(), ({ token }) => token !== 'c');
      if (!job) break;
      order.push(job.id);
    }
    t.strictSame(order, [jobs[1]?.id, jobs[4]?.id, jobs[2]?.id, jobs[3]?.id, jobs[0]?.id]);
    t.equal((await store.claim('owner', Date.now()))?.id, jobs[5]?.id);
  },
);

t.test('two replicas that claim at once never get the same job', { skip }, async (t) => {
  const name = `test-${names++}`;
  const stores = [await openStore(t, { name }), await openStore(t, { name, replica: 'b' })];
  for (let index = 0; index < 20; index++) await stores[index % 2]?.add(newJob());
  const claimed = await Promise.all(
    stores.flatMap((store, index) =>
      Array.from({ length: 15 }, () => store.claim(`owner-${index}`, Date.now())),
    ),
  );
  const taken = claimed.flatMap((job) => job?.id ?? []);
  t.equal(new Set(taken).size, taken.length);
  t.equal(taken.length, 20);
});

t.test('a job is run by the replica that has its session', { skip }, async (t) => {
  const name = `test-${names++}`;
  const [a, b] = [await openStore(t, { name }), await openStore(t, { name, replica: 'b' })];
  await a.add(newJob());
  const first = await a.claim('owner-a', Date.now());
  await a.update(first?.id ?? '', (job) => ({ ...job, sessionId: 'session-1' }));
  const second = newJob({ sessionId: 'session-1', ownSession: true });
  await b.add(second);
  t.equal(await a.claim('owner-a', Date.now()), undefined, 'it waits for the job before');
  await a.update(first?.id ?? '', end);
  t.equal(await b.claim('owner-b', Date.now()), undefined);
  t.equal((await a.claim('owner-a', Date.now()))?.id, second.id);
});

t.test(
  'a session stays on the replica that runs its job, whoever else changes the job',
  { skip },
  async (t) => {
    const name = `test-${names++}`;
    const [a, b] = [await openStore(t, { name }), await openStore(t, { name, replica: 'b' })];
    await a.add(newJob());
    const first = await a.claim('owner-a', Date.now());
    await a.update(first?.id ?? '', (job) => ({ ...job, sessionId: 'session-1' }));
    t.equal(await b.claim('owner-b', Date.now()), undefined);
    // As a restarted replica that sends the notice of an approval again, when the approval was just decided.
    await b.update(first?.id ?? '', (job) => ({ ...job, notes: ['changed by b'] }));
    const second = newJob({ sessionId: 'session-1', ownSession: true });
    await b.add(second);
    await a.update(first?.id ?? '', end);
    t.equal(await b.claim('owner-b', Date.now()), undefined, 'the session is on a');
    t.equal((await a.claim('owner-a', Date.now()))?.id, second.id);
  },
);

t.test(
  'a job whose session is on a lost replica begins a new session elsewhere',
  { skip },
  async (t) => {
    const name = `test-${names++}`;
    const adopted: string[] = [];
    const a = await openStore(t, { name });
    const b = await openStore(t, {
      ...{ name, replica: 'b', replicaLost: 1 },
      adopt: async (session) => (adopted.push(session) > 1 ? 'adopted' : 'none'),
    });
    const sessions = ['session-1', 'session-2'];
    for (const session of sessions) {
      await a.add(newJob());
      const begun = await a.claim('owner-a', Date.now());
      await a.update(begun?.id ?? '', (job) => ({ ...job, sessionId: session }));
      await a.update(begun?.id ?? '', end);
    }
    for (const session of sessions) {
      await b.add(newJob({ sessionId: session, request: { prompt: 'go', session_id: session } }));
    }
    await a.close();
    const lost = await until('replica a is lost', () => claimOf(b, 'owner-b'));
    t.match(lost, {
      sessionId: null,
      ownSession: false,
      notes: [/on the replica a, which is gone/],
    });
    t.notOk('session_id' in lost.request);
    t.match(await b.claim('owner-b', Date.now()), {
      sessionId: 'session-2',
      notes: [/on the replica a, which is gone: the job continues the copy/],
    });
    t.strictSame(adopted, ['session-1', 'session-2']);
  },
);

t.test(
  'a job whose session is on this volume keeps it, under whatever name',
  { skip },
  async (t) => {
    const name = `test-${names++}`;
    const a = await openStore(t, { name, replica: 'pod-a' });
    const b = await openStore(t, {
      name,
      replica: 'pod-b',
      replicaLost: 1,
      adopt: async () => 'here',
    });
    await a.add(newJob());
    const begun = await a.claim('owner-a', Date.now());
    const own = { sessionId: 'session-1', promptId: 'prompt-1' };
    await a.update(begun?.id ?? '', (job) => ({ ...become(job, 'queued', Date.now()), ...own }));
    await a.close();
    const taken = await until('the pod a is lost', () => claimOf(b, 'owner-b'));
    t.match(taken, { id: begun?.id, ...own });
    t.strictSame(taken.notes, []);
  },
);

t.test('the data of a session is deleted with the last job of the session', { skip }, async (t) => {
  const name = `test-${names++}`;
  const store = await openStore(t, { name });
  const keys = new Keys(name);
  const redis = new Redis(server.url);
  t.teardown(() => redis.disconnect());
  const own = newJob({ sessionId: 'session-1', ownSession: true });
  for (const job of [own, newJob(), newJob()]) await store.add(job);
  await store.update(own.id, end);
  for (const sessionId of ['session-1', 'session-2']) {
    const begun = await store.claim('owner', Date.now());
    await store.update(begun?.id ?? '', (job) => ({ ...job, sessionId }));
    if (sessionId === 'session-2') await redis.hset(keys.job(begun?.id ?? ''), 'job', '{');
    else await store.update(begun?.id ?? '', end);
  }
  const homes = async (): Promise<string[]> => (await redis.hkeys(keys.homes)).sort();
  t.strictSame(await homes(), ['session-1', 'session-2']);
  t.equal((await store.list({ limit: 10 })).jobs.length, 2, 'the last one is set aside');
  t.strictSame(await homes(), ['session-1']);
  await store.remove(own.id);
  t.strictSame(await homes(), ['session-1'], 'another job of the session can be run again');
  await store.prune({ endedBefore: Date.now() + 1_000, mostJobs: 0, mostBytes: 0 });
  t.strictSame(await homes(), []);
  t.strictSame(await redis.keys(`${keys.prefix}:jobs:of-session:*`), []);
});

t.test('signs of life are forgotten after a day', { skip }, async (t) => {
  const name = `test-${names++}`;
  const store = await openStore(t, { name });
  const { replicas, owners } = new Keys(name);
  const redis = new Redis(server.url);
  t.teardown(() => redis.disconnect());
  for (const key of [replicas, owners]) {
    await redis.zadd(key, Date.now() - 25 * 3_600_000, 'gone', Date.now(), 'silent');
  }
  await store.beat();
  await store.keepAlive('owner');
  t.strictSame((await redis.zrange(replicas, 0, -1)).sort(), ['a', 'silent']);
  t.strictSame((await redis.zrange(owners, 0, -1)).sort(), ['owner', 'silent']);
});

t.test('entries that a crash has lost are made again', { skip }, async (t) => {
  const name = `test-${names++}`;
  const store = await openStore(t, { name });
  const job = newJob();
  await store.add(job);
  const redis = new Redis(server.url);
  t.teardown(() => redis.disconnect());
  const [waiting] = await until('the job has its entry', async () => {
    await store.advance(Date.now());
    const found = await redis.keys(`{${name}}:lane-*:prioritized`);
    return found.length > 0 && (await redis.zcard(`{${name}}:jobs:due`)) === 0 && found;
  });
  await redis.del(waiting ?? '');
  t.equal(await store.claim('owner', Date.now()), undefined);
  await store.sweep();
  t.equal((await store.claim('owner', Date.now()))?.id, job.id);
});

t.test('large prompts of waiting jobs are read only when their jobs start', { skip }, async (t) => {
  const name = `test-${names++}`;
  const proxy = await tcpProxy(t, server.port);
  const url = server.url.replace(`:${server.port}`, `:${proxy.port}`);
  const store = await openStore(t, { name, url });
  const prompt = 'x'.repeat(500_000);
  const jobs = Array.from({ length: 60 }, () => newJob({ request: { prompt } }));
  for (const job of jobs) await store.add(job);
  const redis = new Redis(server.url);
  t.teardown(() => redis.disconnect());
  await until('the jobs have their entries', async () => {
    await store.advance(Date.now());
    return (await redis.zcard(new Keys(name).due)) === 0;
  });
  await redis.del(await redis.keys(`{${name}}:lane-*`));
  const before = proxy.received;
  await store.sweep();
  t.equal((await store.claim('owner', Date.now()))?.id, jobs[0]?.id);
  const prompts = (proxy.received - before) / prompt.length;
  t.ok(prompts < 5, `the bytes of ${prompts} prompts were read`);
});

t.test('a queue without entries leaves no key, and can be used again', { skip }, async (t) => {
  const name = `test-${names++}`;
  const store = await openStore(t, { name });
  const redis = new Redis(server.url);
  t.teardown(() => redis.disconnect());
  for (let round = 0; round < 2; round++) {
    const job = newJob();
    await store.add(job);
    t.equal((await store.claim('owner', Date.now()))?.id, job.id);
    const [meta = ''] = await redis.keys(`{${name}}:lane-*:meta`);
    t.equal(await redis.hget(meta, 'opts.maxLenEvents'), '1');
    await until('the queue is forgotten', async () => {
      await store.sweep();
      return (await redis.keys(`{${name}}:lane-*`)).length === 0;
    });
  }
});

t.test(
  'a server that would lose jobs is refused, with the names of its settings',
  { skip },
  async (t) => {
    const unsafe = await redisServer(t, {
      arguments: ['--appendonly', 'no', '--maxmemory-policy', 'allkeys-lru'],
    });
    const log = captureLog();
    const store = await openStore(t, { url: unsafe.url, log: log.log });
    await t.rejects(store.add(newJob()), {
      code: 'job_store_unavailable',
      message: /allkeys-lru.*noeviction.*appendonly/,
    });
    t.match(store.describe(), { available: false, problem: /appendonly/ });
    const warned = await openStore(t, { url: unsafe.url, check: 'warn' });
    await warned.add(newJob());
    t.notMatch(log.text, redisPassword);
  },
);

t.test(
  'without a server jobs are refused at once, and nothing accepted is lost',
  { skip },
  async (t) => {
    const own = await redisServer(t);
    const log = captureLog();
    const common = { url: own.url, log: log.log, name: `test-${names++}` };
    const store = await openStore(t, common);
    const accepted = newJob();
    await store.add(accepted, { key: 'one', digest: 'd' });
    await own.kill();
    const unavailable = { code: 'job_store_unavailable', retryable: true };
    await t.rejects(store.add(newJob()), unavailable);
    await t.rejects(store.claim('owner', Date.now()), unavailable);
    let changes = 0;
    store.onChange(() => changes++);
    await own.start();
    await until('the store is back', () => store.describe().available);
    t.ok(changes > 0, 'the store reports a change: each job is to be read again');
    t.equal((await store.add(newJob(), { key: 'one', digest: 'd' })).job.id, accepted.id);
    const claimed = await until('the job is claimed', () => store.claim('owner', Date.now()));
    t.equal(claimed.id, accepted.id);
    // Only the command that must fail has little time: on a slow machine the others would fail too.
    const hasty = await openStore(t, { ...common, deadline: 1_000 });
    await until('the second store is connected', () => hasty.describe().available);
    own.suspend();
    await t.rejects(hasty.read(accepted.id), { message: /did not answer within 1000 ms/ });
    own.resume();
    for (const each of [store, hasty]) {
      const job = await answerOf('the server answers again', () => each.read(accepted.id));
      t.equal(job?.state, 'running');
    }
    t.notMatch(log.text, redisPassword);
  },
);

t.test('a wrong password is reported without it', { skip }, async (t) => {
  const url = server.url.replace(redisPassword, 'another-made-up-password');
  const log = captureLog();
  const store = await openStore(t, { url, log: log.log });
  const error = await store.read('job_1').then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  t.ok(error instanceof BerthError);
  t.match(error, { code: 'job_store_unavailable', message: /WRONGPASS/ });
  t.notMatch(`${error}${log.text}`, /another-made-up-password/);
});

t.test('a claim leaves a job whose session got an earlier job meanwhile', { skip }, async (t) => {
  const name = `test-${names++}`;
  const a = await openStore(t, { name });
  const jobs = [newJob({ sessionId: 's' }), newJob({ sessionId: 's' })];
  const [first, second] = jobs as [Job, Job];
  for (const job of jobs) await a.add(job);
  await a.claim('owner-a', Date.now());
  await a.update(first.id, (job) => become(job, 'failed', Date.now()));
  await a.close();
  const c = await openStore(t, {
    name,
    replica: 'c',
    replicaLost: 1,
    adopt: async () => 'adopted',
  });
  let taken: Job | undefined;
  const b = await openStore(t, {
    ...{ name, replica: 'b', replicaLost: 1 },
    // Called between the look at the session and the change of the job.
    adopt: async () => {
      await c.update(first.id, (job) => become(job, 'queued', Date.now()));
      taken = await until('c has the first job', () => claimOf(c, 'owner-c'));
      return 'adopted';
    },
  });
  await until('replica a is lost, and b looks at the second job', async () => {
    t.equal(await claimOf(b, 'owner-b'), undefined);
    return taken !== undefined;
  });
  t.equal(taken?.id, first.id);
  await c.update(first.id, end);
  t.equal((await c.claim('owner-c', Date.now()))?.id, second.id, 'its turn came');
});

t.test('the wall clock does not decide whether an owner is lost', { skip }, async (t) => {
  const name = `test-${names++}`;
  let elapsed = 0;
  const a = await openStore(t, { name });
  const b = await openStore(t, { name, replica: 'b', elapsed: () => elapsed });
  const keys = new Keys(name);
  const redis = new Redis(server.url);
  t.teardown(() => redis.disconnect());
  await a.add(newJob());
  const job = await a.claim('owner-a', Date.now() - 3_600_000);
  t.ok(job, 'the clock of a is an hour late');
  const ahead = Date.now() + 3_600_000;
  t.strictSame(await b.reclaim('owner-b', ahead), [], 'the clock of b is an hour early');
  await redis.zincrby(keys.owners, -3_600_000, 'owner-a');
  t.strictSame(await b.reclaim('owner-b', ahead), [], 'the clock of Redis was set by an hour');
  for (elapsed = 5_000; elapsed < 30_000; elapsed += 5_000) {
    t.strictSame(await b.reclaim('owner-b', 0), [], `${elapsed} ms`);
  }
  elapsed += 20_000;
  t.strictSame(await b.reclaim('owner-b', 0), [], 'b stood still for 20 s');
  for (let seconds = 0; seconds < 25; seconds += 5) {
    elapsed += 5_000;
    t.strictSame(await b.reclaim('owner-b', 0), []);
  }
  elapsed += 5_000;
  t.match(await b.reclaim('owner-b', 0), [{ id: job?.id, state: 'queued' }]);
});

t.test(
  'after an outage of Redis living replicas keep their jobs and sessions',
  { skip },
  async (t) => {
    const own = await redisServer(t);
    const common = { url: own.url, name: `test-${names++}` };
    let elapsed = 0;
    const a = await openStore(t, common);
    // Its commands must fail while the server hangs.
    const b = await openStore(t, {
      ...{ ...common, replica: 'b', deadline: 5_000 },
      ...{ ownerLost: 700, replicaLost: 700, elapsed: () => elapsed },
    });
    const jobs = [newJob(), newJob()] as [Job, Job];
    for (const job of jobs) await a.add(job);
    const runs = await a.claim('owner-a', Date.now());
    await a.update(runs?.id ?? '', (job) => ({ ...job, sessionId: 'session-1' }));
    const begun = await a.claim('owner-a', Date.now());
    await a.update(begun?.id ?? '', (job) => ({ ...job, sessionId: 'session-2' }));
    await a.update(begun?.id ?? '', (job) => become(job, 'queued', Date.now()));
    const claimOfB = () => answerOf('b can claim', () => claimOf(b, 'owner-b'));
    const reclaimOfB = (what: string) =>
      answerOf(`b is back: ${what}`, () => b.reclaim('owner-b', Date.now()));
    t.equal(await claimOfB(), undefined, 'its session is on a');
    const lookAway = async (): Promise<void> => {
      await Promise.all([
        t.rejects(b.reclaim('owner-b', Date.now()), { code: 'job_store_unavailable' }),
        t.rejects(b.beat()),
      ]);
      elapsed += 800;
    };
    const outages: [string, () => Promise<void>][] = [
      [
        'away',
        async () => {
          await own.kill();
          await lookAway();
          await own.start();
        },
      ],
      [
        'hung',
        async () => {
          own.suspend();
          await lookAway();
          own.resume();
        },
      ],
    ];
    for (const [what, outage] of outages) {
      await outage();
      // The first thing that b does: a has not reported yet.
      t.strictSame(await reclaimOfB(what), [], what);
      t.equal(await claimOfB(), undefined, what);
      const reports = async () => [await a.keepAlive('owner-a'), await a.beat()];
      await until('a reports that it is alive', () => reports().catch(() => undefined));
    }
    await a.close();
    t.match(
      await until('a is gone', async () => {
        elapsed += 100;
        const found = await reclaimOfB('a is closed');
        return found.length > 0 && found;
      }),
      [{ id: runs?.id, state: 'queued' }],
    );
    const taken = await until('the replica a is gone', () => {
      elapsed += 100;
      return claimOfB();
    });
    t.match(taken, { sessionId: null, notes: [/on the replica a, which is gone/] });
  },
);

t.test('a record that cannot be read is set aside, and the others run', { skip }, async (t) => {
  const name = `test-${names++}`;
  const log = captureLog();
  const store = await openStore(t, { name, log: log.log });
  const keys = new Keys(name);
  const redis = new Redis(server.url);
  t.teardown(() => redis.disconnect());
  const { state, ...newer } = newJob();
  const damage: [string, (job: Job) => Promise<unknown>][] = [
    ['is not JSON', ({ id }) => redis.hset(keys.job(id), 'job', 'hunter2 {')],
    [
      'has another state',
      (job) => redis.hset(keys.job(job.id), 'job', JSON.stringify({ ...job, state: 'hunter2' })),
    ],
    ['has no state', ({ id }) => redis.hset(keys.job(id), 'job', JSON.stringify({ ...newer, id }))],
    ['is no hash', ({ id }) => redis.multi().del(keys.job(id)).set(keys.job(id), 'x').exec()],
    ['is lost', ({ id }) => redis.del(keys.job(id))],
  ];
  t.ok(state);
  for (const [what, spoil] of damage) {
    const sessionId = `session ${what}`;
    const [bad, later] = [newJob({ sessionId }), newJob({ sessionId })];
    await store.add(bad, { key: what, digest: 'd' });
    await store.add(later);
    await spoil(bad);
    t.equal(await store.claim('owner', Date.now(), () => false), undefined, what);
    await store.sweep();
    t.equal((await store.claim('owner', Date.now()))?.id, later.id, what);
    t.equal(await store.read(bad.id), undefined, what);
    t.equal(await store.findByKey('n8n', { key: what, digest: 'd' }), undefined, what);
    t.equal((await store.counts()).byState.queued, 0, what);
    const unfinished = await redis.zrange(keys.unfinished('n8n'), 0, -1);
    t.notOk(unfinished.includes(bad.id), what);
    if (what !== 'is lost') t.equal(await redis.exists(keys.refusedJob(bad.id)), 1, what);
    await store.update(later.id, end);
  }
  t.equal(log.count('job_refused'), damage.length);
  t.notMatch(log.text, /hunter2/, 'no stored text is logged');
});

t.test(
  'an unfinished job whose request is lost fails, and its key and callback stay',
  { skip },
  async (t) => {
    const name = `test-${names++}`;
    const log = captureLog();
    const store = await openStore(t, { name, log: log.log });
    const redis = new Redis(server.url);
    t.teardown(() => redis.disconnect());
    const record = ({ id }: Job): string => new Keys(name).job(id);
    const damage: ((job: Job) => Promise<unknown>)[] = [
      (job) => redis.hdel(record(job), 'request'),
      (job) => redis.hset(record(job), 'request', 'hunter2 {'),
    ];
    for (const [index, spoil] of damage.entries()) {
      const job = newJob({ sessionId: 's', callback: waitingCallback });
      const later = newJob({ sessionId: 's' });
      const key = { key: `key ${index}`, digest: 'd' };
      await store.add(job, key);
      await store.add(later);
      await spoil(job);
      t.equal((await store.claim('owner', Date.now()))?.id, later.id);
      const error = { code: 'job_store_unavailable', detail: /its prompt was lost/ };
      t.match(await store.read(job.id), { state: 'failed', error, callback: { state: 'pending' } });
      t.equal((await store.add(newJob(), key)).job.id, job.id);
      t.equal((await store.claimCallback(Date.now(), 60_000))?.id, job.id);
      await store.update(later.id, end);
    }
    t.equal(log.count('job_refused'), damage.length);
    t.notMatch(log.text, /hunter2/, 'no stored text is logged');
  },
);

t.test('a running record that cannot be read does not stop a reclaim', { skip }, async (t) => {
  const name = `test-${names++}`;
  const store = await openStore(t, { name, ownerLost: 1 });
  const redis = new Redis(server.url);
  t.teardown(() => redis.disconnect());
  const keys = new Keys(name);
  for (let count = 0; count < 2; count++) await store.add(newJob());
  const first = await store.claim('owner', Date.now());
  const second = await store.claim('owner', Date.now());
  await redis.hset(keys.job(first?.id ?? ''), 'job', '{');
  await redis.hset(keys.lanes, 'lane-damaged', '{');
  const reclaimed = await until('the owner is gone', async () => {
    const found = await store.reclaim('other', Date.now());
    return found.length > 0 && found;
  });
  t.match(reclaimed, [{ id: second?.id }]);
  t.equal((await store.list({ limit: 10 })).jobs.length, 1);
  t.equal((await store.claim('other', Date.now()))?.id, second?.id);
});
