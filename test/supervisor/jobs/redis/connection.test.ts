/** What the connection to Redis survives beside the end of the server: vanished packets, and a change of its role. */
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import {
  RedisJobStore,
  type RedisJobStoreOptions,
} from '../../../../supervisor/jobs/redis/redis-job-store.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { freePort } from '../../../support/free-port.ts';
import { jobOf } from '../../../support/job.ts';
import { cannotRunRedis, patience, redisServer } from '../../../support/redis-server.ts';
import { tcpProxy } from '../../../support/tcp-proxy.ts';
import { until } from '../../../support/until.ts';

const skip = cannotRunRedis();

async function openStore(
  t: Test,
  options: Pick<RedisJobStoreOptions, 'url' | 'checks' | 'deadline'> &
    Partial<RedisJobStoreOptions>,
): Promise<RedisJobStore> {
  const store = new RedisJobStore({ log: captureLog().log, replica: 'a', ...options });
  await store.open();
  t.teardown(() => store.close());
  return store;
}

/** Changes a job by one store, and gives whether the other has heard of it. */
function hearing(store: RedisJobStore, changer: RedisJobStore): () => Promise<boolean> {
  const heard = new Set<string | undefined>();
  store.onChange((id) => heard.add(id));
  return async () => {
    const { job } = await changer.add(jobOf());
    await changer.update(job.id, (found) => ({ ...found, notes: ['changed'] }));
    return heard.has(job.id);
  };
}

/** How many sockets of programs are connected to that port of loopback. */
function socketsTo(port: number): number {
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync('/proc/net/tcp', 'utf8').split('\n').slice(1);
  // The remote address, and the inode, which is 0 once the program has closed the socket.
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter((row) => row[2] === remote && row[9] !== '0').length;
}

t.test('a subscription that the server has refused is tried again', { skip }, async (t) => {
  const server = await redisServer(t);
  const redis = new Redis(server.url);
  t.teardown(() => redis.disconnect());
  await redis.acl('SETUSER', 'default', '-subscribe');
  const checks = { betweenChecks: 20 };
  const captured = captureLog();
  const { log } = captured;
  const store = await openStore(t, { url: server.url, checks, deadline: patience, log });
  const refusals = async () => ((await redis.acl('LOG')) as unknown[]).length;
  await until('the subscription was refused', async () => (await refusals()) > 0);
  t.match(await captured.logged('job_store_unsubscribed'), { level: 'warn', reason: /NOPERM/ });
  const { job } = await store.add(jobOf());
  const heard = new Set<string | undefined>();
  store.onChange((id) => heard.add(id));
  await redis.acl('SETUSER', 'default', '+subscribe');
  await until('a change is reported', async () => {
    await store.update(job.id, (found) => ({ ...found, notes: ['changed'] }));
    return heard.has(job.id);
  });
  await captured.logged('job_store_subscribed');
  t.equal(captured.count('job_store_unsubscribed'), 1);
});

t.test('connections whose packets vanish are made again', { skip }, async (t) => {
  const server = await redisServer(t);
  const proxy = await tcpProxy(t, server.port);
  const direct = await openStore(t, { url: server.url });
  const store = await openStore(t, {
    url: server.url.replace(`:${server.port}`, `:${proxy.port}`),
    checks: { betweenChecks: 20, longestSilence: 500 },
  });
  const addAndHear = hearing(store, direct);
  await until('changes are reported', addAndHear);
  proxy.silence();
  await until('a job is claimed', () => store.claim('owner', Date.now()).catch(() => undefined));
  await until('changes are reported again', addAndHear);
  t.ok(proxy.count >= 4, 'each of the two connections was made again');
});

t.test(
  'a primary that becomes a replica is not used, and the connection is made again',
  { skip },
  async (t) => {
    const server = await redisServer(t);
    const proxy = await tcpProxy(t, server.port);
    const redis = new Redis(server.url);
    t.teardown(() => redis.disconnect());
    const store = await openStore(t, {
      url: server.url.replace(`:${server.port}`, `:${proxy.port}`),
      checks: { betweenChecks: 20 },
    });
    await store.add(jobOf());
    const before = proxy.count;
    await redis.replicaof('127.0.0.1', await freePort());
    await until('the store cannot be used', () => !store.describe().available);
    t.match(store.describe().problem, /read-only replica|READONLY|closed/);
    await t.rejects(store.add(jobOf()), { code: 'job_store_unavailable' });
    await until('another server is looked for', () => proxy.count > before);
    await redis.replicaof('NO', 'ONE');
    await until('the store can be used', () => store.describe().available);
    await store.add(jobOf());
  },
);

t.test(
  'a store that is closed while it connects again leaves no failed promise',
  { skip },
  async (t) => {
    const rejected: unknown[] = [];
    const note = (error: unknown): unknown => rejected.push(error);
    process.prependListener('unhandledRejection', note);
    t.teardown(() => process.off('unhandledRejection', note));
    const server = await redisServer(t);
    const proxy = await tcpProxy(t, server.port);
    const url = server.url.replace(`:${server.port}`, `:${proxy.port}`);
    const store = await openStore(t, { url });
    const direct = await openStore(t, { url: server.url });
    await until('changes are reported', hearing(store, direct));
    await server.kill();
    const held = proxy.holdAfter(/\$4\r\ninfo\r\n/i);
    await server.start();
    await until('both connections wait for the answer to INFO', () => held.count >= 2);
    await store.close();
    held.release();
    await until('the connections are closed', () => socketsTo(proxy.port) === 0);
    t.strictSame(rejected, []);
  },
);
