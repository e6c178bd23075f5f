/** A Redis whose memory is full or nearly full: what it refuses, what it must not refuse, and what is reported. */
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { become, type Job } from '../../../../supervisor/jobs/job.ts';
import { RedisJobStore } from '../../../../supervisor/jobs/redis/redis-job-store.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { jobOf } from '../../../support/job.ts';
import { cannotRunRedis, redisServer } from '../../../support/redis-server.ts';
import { until } from '../../../support/until.ts';

const skip = cannotRunRedis();
const unavailable = { code: 'job_store_unavailable', retryable: true };

/** A store, and what sets the memory of its server. */
async function openStore(t: Test) {
  const server = await redisServer(t);
  const redis = new Redis(server.url);
  t.teardown(() => redis.disconnect());
  // With it, a part of the memory is more than what a few commands need. The server makes it: a long command would leave a
  // buffer, which goes later.
  await redis.setrange('ballast', 20_000_000, 'x');
  const captured = captureLog();
  const store = new RedisJobStore({
    ...{ url: server.url, log: captured.log, replica: 'a', checks: { betweenChecks: 20 } },
  });
  await store.open();
  t.teardown(() => store.close());
  /** @param share of the memory that is used from now on; undefined: there is no bound */
  const use = async (share: number | undefined): Promise<void> => {
    const used = Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
    await redis.config('SET', 'maxmemory', share === undefined ? 0 : Math.floor(used / share));
  };
  const is = (available: boolean) =>
    until(`available: ${available}`, () => store.describe().available === available);
  return { store, captured, use, is };
}

const end = (job: Job): Job => become(job, 'cancelled', Date.now());

t.test(
  'a server that is full lets jobs end and be removed, and recovers by this',
  { skip },
  async (t) => {
    const { store, captured, use, is } = await openStore(t);
    const [first, second, ended] = [jobOf(), jobOf(), jobOf()];
    for (const job of [first, second, ended]) await store.add(job);
    await store.update(ended.id, end);
    const claimed = await store.claim('owner', Date.now());
    await use(1.1);
    await t.rejects(store.add(jobOf()), unavailable);
    t.match(store.describe(), { available: false, problem: /OOM|memory is nearly full/ });
    await store.keepAlive('owner');
    await store.beat();
    const result = 'x'.repeat(100_000);
    await store.update(claimed?.id ?? '', (job) => ({ ...end(job), notes: [result] }));
    const left = claimed?.id === first.id ? second : first;
    await store.update(left.id, end);
    t.equal(await store.remove(left.id), true);
    const removed = await store.prune({
      ...{ endedBefore: Date.now() + 60_000, mostJobs: 100, mostBytes: 1e9 },
    });
    t.strictSame(removed.map(({ id }) => id).sort(), [claimed?.id, ended.id].sort());
    await is(false);
    await use(undefined);
    await is(true);
    await store.add(jobOf());
    t.ok(captured.count('job_store_unavailable') > 0);
  },
);

t.test(
  'a server that is nearly full accepts no new jobs, and runs those that it has',
  { skip },
  async (t) => {
    const { store, use, is } = await openStore(t);
    const job = jobOf();
    const key = { key: 'one', digest: 'd' };
    await store.add(job, key);
    await use(0.95);
    await is(false);
    t.match(
      store.describe().problem,
      /its memory is nearly full \(\d+ of \d+ bytes\): raise maxmemory/,
    );
    await t.rejects(store.add(jobOf()), { ...unavailable, message: /nearly full/ });
    await t.rejects(store.attachments.save('job', []), unavailable);
    t.equal((await store.findByKey('tests', key))?.id, job.id);
    t.equal((await store.claim('owner', Date.now()))?.id, job.id);
    t.match(await store.update(job.id, end), { state: 'cancelled' });
    await use(0.5);
    await is(true);
    await store.add(jobOf());
  },
);
