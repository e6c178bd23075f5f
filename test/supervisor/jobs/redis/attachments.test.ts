/** The attachments of jobs on Redis keep the contract, and come and go with their jobs, on a real server. */
import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { silent } from '../../../../shared/log.ts';
import { attachmentOf } from '../../../../supervisor/attachments/attachment.ts';
import { become, type Job } from '../../../../supervisor/jobs/job.ts';
import { Keys } from '../../../../supervisor/jobs/redis/keys.ts';
import { RedisJobStore } from '../../../../supervisor/jobs/redis/redis-job-store.ts';
import { cannotRunRedis, patience, redisServer } from '../../../support/redis-server.ts';
import { sampleJob } from '../../../support/stored-job.ts';
import { testAttachmentStore } from '../../attachments/store-contract.ts';

const skip = cannotRunRedis();
const server = skip ? { url: '', port: 0 } : await redisServer(t);
const redis = new Redis(server.url, { lazyConnect: true });
t.teardown(() => redis.disconnect());

async function open(t: Test, { name = randomUUID() as string, most = 1_000, replica = 'a' } = {}) {
  const store = new RedisJobStore({
    ...{ url: server.url, log: silent, name, replica, mostFileBytes: most, deadline: patience },
  });
  await store.open();
  t.teardown(() => store.close());
  return { store, files: store.attachments, keys: new Keys(name), name };
}

const file = (data: string) =>
  attachmentOf({ name: 'a', mediaType: 'text/plain', data: Buffer.from(data) }, '');

t.test('the store of attachments on Redis keeps the contract', { skip }, async (t) => {
  testAttachmentStore(t, async (t) => {
    const { files, keys } = await open(t);
    return {
      store: files,
      accepted: async (job) => void (await redis.persist(keys.filesOf(job))),
      spoil: async (job, content) => void (await redis.hset(keys.filesOf(job), 0, content)),
    };
  });
});

async function accept(store: RedisJobStore, change: Partial<Job> = {}): Promise<Job> {
  const job = sampleJob(change);
  const attachments = await store.attachments.save(job.id, [file('ten bytes.')]);
  const { job: added } = await store.add({ ...job, request: { ...job.request, attachments } });
  return added;
}

t.test(
  'another replica loads the files of a job, and the end of the job removes the files',
  { skip },
  async (t) => {
    const a = await open(t);
    const b = await open(t, { name: a.name, replica: 'b' });
    const { id } = await accept(a.store);
    t.equal(await redis.pttl(a.keys.filesOf(id)), -1, 'the files of an accepted job do not expire');
    const job = await b.store.claim('owner-b', Date.now());
    t.match(await b.files.load(id, job?.request.attachments ?? []), [
      { data: Buffer.from('ten bytes.') },
    ]);
    await b.store.update(id, (job) => become(job, 'cancelled', Date.now()));
    t.equal(await redis.exists(a.keys.filesOf(id), a.keys.files), 0);
  },
);

t.test('a failed job keeps its files until it is removed', { skip }, async (t) => {
  const { store, keys, files } = await open(t);
  const { id, request } = await accept(store);
  await store.claim('owner', Date.now());
  await store.update(id, (job) => become(job, 'failed', Date.now()));
  t.equal((await files.load(id, request.attachments ?? [])).length, 1);
  t.equal(await store.remove(id), true);
  t.equal(await redis.exists(keys.filesOf(id), keys.files), 0);
});

t.test('an expired job loses its files', { skip }, async (t) => {
  const { store, keys } = await open(t);
  const { id } = await accept(store, { expiresAt: 2_000 });
  t.equal(await store.claim('owner', 3_000), undefined);
  t.equal((await store.read(id))?.state, 'expired');
  t.equal(await redis.exists(keys.filesOf(id), keys.files), 0);
});

t.test(
  'files of a job that was never accepted expire, and take no room then',
  { skip },
  async (t) => {
    const { store, files, keys } = await open(t, { most: 25 });
    await files.save('job_1', [file('x'.repeat(20))]);
    const left = await redis.pttl(keys.filesOf('job_1'));
    t.ok(left > 0 && left <= 600_000, `they expire in ${left} ms`);
    const full = {
      code: 'jobs_full',
      message: /have 20 of the 25 bytes.*BERTH_REDIS_ATTACHMENT_SIZE/,
    };
    await t.rejects(accept(store), full);
    t.equal(await redis.exists(keys.filesOf('job_2')), 0, 'nothing is left of the refused files');
    await redis.pexpire(keys.filesOf('job_1'), 0);
    await accept(store);
    t.strictSame(Object.values(await redis.hgetall(keys.files)), ['10']);
  },
);

t.test('more bytes than all jobs may have are refused for good', { skip }, async (t) => {
  const { files } = await open(t, { most: 9 });
  const large = {
    code: 'payload_too_large',
    message: /10 bytes.*keep 9.*BERTH_REDIS_ATTACHMENT_SIZE/,
  };
  await t.rejects(files.save('job_1', [file('ten bytes.')]), large);
});

t.test('of many jobs at once, as many get room as there is', { skip }, async (t) => {
  const a = await open(t, { most: 45 });
  const b = await open(t, { name: a.name, replica: 'b', most: 45 });
  const saves = Array.from({ length: 12 }, (_, at) =>
    (at % 2 ? a : b).files.save(`job_${at}`, [file('ten bytes.')]),
  );
  const outcomes = await Promise.allSettled(saves);
  t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 4);
});
