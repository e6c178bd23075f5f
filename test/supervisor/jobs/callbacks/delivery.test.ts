import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Webhook } from 'standardwebhooks';
import t, { type Test } from 'tap';
import { AllowedHosts } from '../../../../supervisor/jobs/callbacks/allowed-hosts.ts';
import { Callbacks } from '../../../../supervisor/jobs/callbacks/callbacks.ts';
import { makeWebhookSecret } from '../../../../supervisor/jobs/callbacks/webhook-secrets.ts';
import { become } from '../../../../supervisor/jobs/job.ts';
import type { JobStore } from '../../../../supervisor/jobs/job-store.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { testDirectory } from '../../../support/directory.ts';
import { endedJob, runningJob } from '../../../support/ended-job.ts';
import { memoryJobStore } from '../../../support/memory-job-store.ts';
import { until } from '../../../support/until.ts';
import { openReceiver, status } from '../../../support/webhook-receiver.ts';

const secret = makeWebhookSecret();
const webhook = new Webhook(secret);

/** Callbacks that are delivered from the store until the end of the test, or until `stop`. */
async function deliver(t: Test, store: JobStore, hosts = '127.0.0.0/8') {
  const secretFile = join(testDirectory(t, {}), 'secret');
  writeFileSync(secretFile, secret);
  const captured = captureLog();
  const callbacks = await Callbacks.open({
    ...{ hosts: AllowedHosts.parse(hosts), secretFile, environment: {}, log: captured.log },
  });
  const outcomes: string[] = [];
  callbacks.start(store, (outcome) => outcomes.push(outcome));
  t.teardown(() => callbacks.stop());
  return { callbacks, captured, outcomes };
}

const callbackOf = async (store: JobStore, id: string) => (await store.read(id))?.callback;

t.test('each end of a job is reported, signed, with the job as the API shows it', async (t) => {
  const receiver = await openReceiver(t);
  const store = memoryJobStore();
  const { captured, outcomes } = await deliver(t, store);
  for (const state of ['succeeded', 'failed', 'cancelled', 'expired'] as const) {
    const url = `${receiver.url}/hidden?state=${state}`;
    const job = endedJob(url, Date.now(), state);
    await store.add(job);
    const received = await until(`${state} arrives`, () =>
      receiver.received.find(({ target }) => target.endsWith(state)),
    );
    const message = webhook.verify(received.body, received.headers) as Record<string, never>;
    const { type, timestamp, data } = message;
    t.equal(type, `job.${state}`);
    t.equal(timestamp, new Date(job.endedAt ?? 0).toISOString());
    t.match(data, { id: job.id, state, metadata: { execution: '7' } });
    t.notMatch(received.body, /hidden/);
    await until(
      'it is recorded',
      async () => (await callbackOf(store, job.id))?.deliveredAt !== null,
    );
    t.match(await callbackOf(store, job.id), { state: 'delivered', attempts: 1, lastStatus: 204 });
  }
  await until('all are counted', () => outcomes.length === 4);
  t.same([...new Set(outcomes)], ['delivered']);
  t.notMatch(captured.text, /hidden/);
});

t.test('a receiver that is not ready gets the same message again under one id', async (t) => {
  const receiver = await openReceiver(t, status(409, {}, 'running already'), status(200));
  const store = memoryJobStore();
  const { captured, outcomes } = await deliver(t, store);
  const job = endedJob(`${receiver.url}/hidden`, Date.now());
  await store.add(job);
  await captured.logged('callback_delivered');
  const [first, second] = receiver.received;
  t.equal(first?.headers['webhook-id'], second?.headers['webhook-id']);
  for (const { body, headers } of receiver.received) t.ok(webhook.verify(body, headers));
  t.same(outcomes, ['retried', 'delivered']);
  t.match(await callbackOf(store, job.id), { attempts: 2, lastStatus: 200, lastError: null });
});

t.test('a job that runs again and ends again is reported under another id', async (t) => {
  const receiver = await openReceiver(t);
  const store = memoryJobStore();
  const { captured } = await deliver(t, store);
  const job = endedJob(receiver.url, Date.now() - 60_000, 'failed');
  await store.add(job);
  await captured.logged('callback_delivered');
  await store.update(job.id, (now) => become(now, 'queued', Date.now()));
  t.match(await callbackOf(store, job.id), { state: 'waiting', attempts: 0, deliveredAt: null });
  await store.update(job.id, (now) => become(now, 'cancelled', Date.now()));
  await until('the second end is reported', () => receiver.received.length === 2);
  const ids = receiver.received.map(({ headers }) => headers['webhook-id']);
  t.equal(new Set(ids).size, 2);
});

t.test('a stop ends a running request at once, and the next start sends it again', async (t) => {
  const receiver = await openReceiver(t, () => {}, status(200));
  const store = memoryJobStore();
  const first = await deliver(t, store);
  const job = endedJob(receiver.url, Date.now());
  await store.add(job);
  await until('the request arrives', () => receiver.received.length === 1);
  await Promise.all([first.callbacks.stop(), first.callbacks.stop()]);
  t.match(await callbackOf(store, job.id), { state: 'pending', attempts: 0 });
  const second = await deliver(t, store);
  await second.captured.logged('callback_delivered');
  const [one, two] = receiver.received;
  t.equal(one?.headers['webhook-id'], two?.headers['webhook-id']);
  t.same(first.outcomes, []);
});

t.test('a slow host does not hold up another host', async (t) => {
  const slow = await openReceiver(t, () => {});
  const quick = await openReceiver(t);
  const store = memoryJobStore();
  for (let count = 0; count < 40; count++) await store.add(endedJob(slow.url, Date.now() - 1_000));
  await store.add(endedJob(quick.url, Date.now()));
  const { captured } = await deliver(t, store);
  await captured.logged('callback_delivered');
  await until('the slow host has its share', () => slow.received.length === 4);
});

t.test('a host that is no longer allowed gets nothing, and the setting is named', async (t) => {
  const receiver = await openReceiver(t);
  const store = memoryJobStore();
  const job = endedJob(`${receiver.url}/hidden`, Date.now());
  await store.add(job);
  const { captured } = await deliver(t, store, 'elsewhere');
  const { cause, status: answered } = await captured.logged('callback_retried');
  t.match(
    cause,
    /callbacks to 127\.0\.0\.1:\d+ are not allowed; add the host to BERTH_CALLBACK_HOSTS/,
  );
  t.equal(answered, null);
  t.equal(receiver.received.length, 0);
  t.match(await callbackOf(store, job.id), { state: 'pending', attempts: 1, lastStatus: null });
  t.notMatch(captured.text, /hidden/);
});

t.test('a receiver that wants no more, and a damaged URL, end the delivery', async (t) => {
  const receiver = await openReceiver(t, status(410));
  const store = memoryJobStore();
  const { captured } = await deliver(t, store);
  const gone = endedJob(receiver.url, Date.now());
  await store.add(gone);
  t.match(await captured.logged('callback_failed'), { level: 'error', status: 410 });
  const damaged = endedJob('nonsense', Date.now());
  await store.add(damaged);
  await until('it failed', async () => (await callbackOf(store, damaged.id))?.state === 'failed');
  t.equal(receiver.received.length, 1);
});

t.test('a store that fails for a while loses no callback', async (t) => {
  const receiver = await openReceiver(t);
  const store = memoryJobStore();
  const running = runningJob(receiver.url, Date.now());
  await store.add(running);
  store.problem = 'no connection';
  const { captured } = await deliver(t, store);
  t.match(await captured.logged('callbacks_unavailable'), { level: 'warn' });
  store.problem = null;
  await store.update(running.id, (job) => become(job, 'succeeded', Date.now()));
  await captured.logged('callback_delivered');
  t.match(await captured.logged('callbacks_unavailable', ({ level }) => level === 'info'), {});
});
