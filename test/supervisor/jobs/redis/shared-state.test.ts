/** Budgets, the pause, limits and the number of prompts over two replicas with a real Redis. */
import t, { type Test } from 'tap';
import type { UsageLimit } from '../../../../supervisor/claude/usage-limit.ts';
import { RedisJobStore } from '../../../../supervisor/jobs/redis/redis-job-store.ts';
import { Pause } from '../../../../supervisor/prompts/pause.ts';
import { PromptRate } from '../../../../supervisor/spending/prompt-rate.ts';
import { SharedRate } from '../../../../supervisor/spending/shared-rate.ts';
import { SpendingLedger } from '../../../../supervisor/spending/spending.ts';
import { SharedState } from '../../../../supervisor/wiring/share-state.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { testDirectory } from '../../../support/directory.ts';
import { cannotRunRedis, patience, redisServer } from '../../../support/redis-server.ts';
import { until } from '../../../support/until.ts';

const skip = cannotRunRedis();
const server = skip ? { url: '', port: 0 } : await redisServer(t);

/** A replica with what it shares, and the logins whose limits it was told of. */
async function startReplica(
  t: Test,
  replica: string,
  now?: () => number,
  account: string | undefined = 'one',
) {
  const stateDirectory = testDirectory(t, { [replica]: {} });
  const captured = captureLog();
  const { log } = captured;
  const name = t.name.slice(0, 8);
  const store = new RedisJobStore({ url: server.url, log, name, replica, deadline: patience });
  await store.open();
  t.teardown(() => store.close());
  const pause = new Pause(`${stateDirectory}/${replica}`, log);
  const ledger = new SpendingLedger({
    ...{ stateDirectory: `${stateDirectory}/${replica}`, log },
    recover: async () => [],
  });
  const heard: [string, UsageLimit][] = [];
  const interrupted: (string | undefined)[] = [];
  const shared = new SharedState({
    exchange: (own) => store.states.exchange(own),
    previous: () => store.states.own(),
    ...{ ledger, pause },
    accountOf: () => account,
    heard: (login, limit) => heard.push([login, limit]),
    onPaused: () => interrupted.push(pause.refusal?.code),
    ...(now ? { now } : {}),
  });
  t.teardown(() => ledger.flush());
  const clock = { now: 0 };
  const rate = new SharedRate(new PromptRate(() => clock.now), log, () => clock.now);
  rate.shareBy(store.starts);
  return { store, pause, ledger, heard, interrupted, shared, rate, clock, log: captured };
}

/** Each replica in turn publishes its state, and reads that of the others. */
async function exchangeIn(...replicas: Awaited<ReturnType<typeof startReplica>>[]): Promise<void> {
  for (const { shared } of replicas) await shared.exchange();
}

t.test(
  'budget: the total spending of all replicas counts once on each replica',
  { skip },
  async (t) => {
    const [a, b] = [await startReplica(t, 'a'), await startReplica(t, 'b')];
    a.ledger.add('n8n', 'review', 3);
    b.ledger.add('n8n', 'review', 2);
    for (const { shared } of [a, b, a, b]) await shared.exchange();
    for (const { ledger } of [a, b]) {
      t.doesNotThrow(() => ledger.check('n8n', 'review', { token: 5.01 }));
      t.throws(() => ledger.check('n8n', 'review', { token: 5 }), {
        code: 'daily_budget_exceeded',
      });
      t.throws(() => ledger.check('x', 'y', { deployment: 5 }), { message: /\$5\.00 of \$5\.00/ });
      t.doesNotThrow(() => ledger.check('x', 'y', { token: 1, profile: 1 }));
    }
    t.equal(a.ledger.spent.total_usd, 3, 'the own sums stay those of this replica');
    await a.store.close();
    await a.shared.exchange();
    t.throws(
      () => a.ledger.check('n8n', 'z', { token: 5 }),
      { code: 'daily_budget_exceeded' },
      'without Redis the last sums count',
    );
  },
);

t.test('pauses: the last pause or resume of any replica wins', { skip }, async (t) => {
  let clock = Date.now();
  const now = () => ++clock;
  const [a, b] = [await startReplica(t, 'a', now), await startReplica(t, 'b', now)];
  for (const { shared } of [a, b]) await shared.exchange();
  await a.pause.pause('ops', 'maintenance');
  for (const { shared } of [a, b]) await shared.exchange();
  t.match(b.pause.state, { by: 'ops', reason: 'maintenance' });
  t.strictSame(b.interrupted, ['paused'], 'the running prompts of the other replica end');
  t.strictSame(a.interrupted, []);
  await b.pause.resume();
  for (const { shared } of [b, a]) await shared.exchange();
  t.equal(a.pause.state, undefined);
  for (const { shared } of [a, b, a]) await shared.exchange();
  t.equal(b.pause.state, undefined);
});

t.test(
  'clocks: a later decision wins, although the clock of its replica is behind',
  { skip },
  async (t) => {
    const a = await startReplica(t, 'a');
    const b = await startReplica(t, 'b', () => Date.now() + 30_000);
    await exchangeIn(a, b);
    await b.pause.pause('ops', null);
    await exchangeIn(b, a, b);
    await b.pause.resume();
    await exchangeIn(b);
    await a.pause.pause('ops', 'not heard yet');
    await exchangeIn(a, b, a);
    t.ok(a.pause.state && b.pause.state);
    await a.pause.resume();
    await exchangeIn(a, b, a);
    t.notOk(a.pause.state || b.pause.state);
  },
);

t.test('again: a decision counts also where it changes nothing', { skip }, async (t) => {
  const [a, b] = [await startReplica(t, 'a'), await startReplica(t, 'b')];
  const exchange = () => exchangeIn(a, b, a, b);
  await a.pause.pause('ops', null);
  await exchange();
  await a.pause.resume();
  // Decisions that no other replica has read yet are concurrent, and any of them may win.
  await a.shared.exchange();
  await b.pause.pause('ops', 'although b is still paused');
  await exchange();
  t.ok(a.pause.state && b.pause.state);
  await a.pause.resume();
  await exchange();
  await a.pause.pause('ops', null);
  await a.shared.exchange();
  await b.pause.resume();
  await exchange();
  t.notOk(a.pause.state || b.pause.state);
});

t.test('moment: of a pause and a resume of the same moment one wins', { skip }, async (t) => {
  const [a, b] = [await startReplica(t, 'a', () => 1_000), await startReplica(t, 'b', () => 1_000)];
  const exchange = () => exchangeIn(a, b, a, b);
  await a.pause.pause('ops', null);
  await exchange();
  await a.pause.resume();
  await a.shared.exchange();
  await b.pause.pause('ops', 'at the same moment');
  await exchange();
  t.ok(a.pause.state && b.pause.state);
});

t.test(
  'old: an old pause of a replica that is gone does not return at a restart',
  { skip },
  async (t) => {
    const [a, gone] = [await startReplica(t, 'a'), await startReplica(t, 'gone')];
    await gone.pause.pause('ops', null);
    for (const { shared } of [gone, a]) await shared.exchange();
    await a.pause.resume();
    await a.shared.exchange();
    const again = await startReplica(t, 'a');
    for (let count = 0; count < 2; count++) await again.shared.exchange();
    t.equal(again.pause.state, undefined);
    await again.pause.pause('ops', null);
    await again.shared.exchange();
    const third = await startReplica(t, 'a');
    await third.shared.exchange();
    t.match(third.pause.state, { by: 'ops' }, 'a pause returns, also without its file');
  },
);

t.test('limits: a limit reaches the others of the same account once', { skip }, async (t) => {
  const [a, b] = [await startReplica(t, 'a'), await startReplica(t, 'b')];
  const other = await startReplica(t, 'other', undefined, 'another');
  const limit: UsageLimit = {
    status: 'rejected',
    type: 'five_hour',
    resetsAt: Date.now() + 60_000,
    utilization: 1,
    usingOverage: false,
    windows: { five_hour: { utilization: 1, resetsAt: Date.now() + 60_000 } },
  };
  a.shared.note('default', limit);
  for (const { shared } of [a, b, other, a, b, other]) await shared.exchange();
  t.strictSame(b.heard, [['default', limit]]);
  t.strictSame(other.heard, [], 'a login of the same name has another account');
  t.strictSame(a.heard, []);
});

t.test(
  'ended: a limit that has ended closes no gate when a replica starts again',
  { skip },
  async (t) => {
    let clock = Date.now();
    const a = await startReplica(t, 'a', () => clock);
    const windows = {
      five_hour: { utilization: 1, resetsAt: clock + 60_000 },
      seven_day: { utilization: 0.9, resetsAt: clock + 3_600_000 },
    };
    const limit = { status: 'rejected', type: 'five_hour', resetsAt: clock + 60_000 };
    a.shared.note('default', { ...limit, utilization: 1, usingOverage: false, windows });
    clock += 60_000;
    const b = await startReplica(t, 'b', () => clock);
    for (const { shared } of [a, b]) await shared.exchange();
    const { seven_day } = windows;
    t.match(b.heard, [['default', { status: 'allowed', windows: { seven_day } }]]);
    t.notOk(b.heard[0]?.[1].windows.five_hour);
    clock += 3_600_000;
    const again = await startReplica(t, 'b', () => clock);
    for (const { shared } of [a, again]) await shared.exchange();
    t.strictSame(again.heard, []);
  },
);

t.test(
  'prompts: of many starts at once on all replicas, as many count as the limit has',
  { skip },
  async (t) => {
    const replicas = [await startReplica(t, 'a'), await startReplica(t, 'b')];
    const starts = Array.from({ length: 20 }, (_, at) =>
      replicas[at % 2]?.rate.start('n8n', 'review', 7),
    );
    const outcomes = await Promise.allSettled(starts);
    t.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 7);
    const refused = outcomes.find(({ status }) => status === 'rejected') as PromiseRejectedResult;
    t.match(refused.reason, { code: 'prompts_exceeded', details: { limit: 7 } });
    const { retry_after: seconds } = refused.reason.details;
    t.ok(seconds > 3_500 && seconds <= 3_600, `${seconds} s`);
    for (const { rate } of replicas) {
      await rate.start('home', 'review', 1).catch(() => {});
      await t.rejects(rate.start('home', 'review', 1), { code: 'prompts_exceeded' });
      await rate.start('n8n', 'write', 9);
      await rate.start('n8n', 'review', undefined);
    }
  },
);

t.test(
  'rate: without Redis, a replica counts its own starts, including earlier starts',
  { skip },
  async (t) => {
    const [a, b] = [await startReplica(t, 'a'), await startReplica(t, 'b')];
    await a.rate.start('n8n', 'review', 3);
    await b.rate.start('n8n', 'review', 3);
    await a.store.close();
    for (let count = 0; count < 2; count++) await a.rate.start('n8n', 'review', 3);
    await t.rejects(a.rate.start('n8n', 'review', 3), { code: 'prompts_exceeded' });
    t.equal(a.log.count('prompts_counted_alone'), 1);
    await b.rate.start('n8n', 'review', 3);
    await t.rejects(b.rate.start('n8n', 'review', 3), { code: 'prompts_exceeded' });
  },
);

t.test('rate: a start that is taken back counts on no replica', { skip }, async (t) => {
  const [a, b] = [await startReplica(t, 'a'), await startReplica(t, 'b')];
  await a.rate.start('n8n', 'review', 2);
  const takeBack = await a.rate.start('n8n', 'review', 2);
  await t.rejects(b.rate.start('n8n', 'review', 2), { code: 'prompts_exceeded' });
  takeBack();
  await until('the start is taken back', async () => {
    return b.rate.start('n8n', 'review', 2).then(
      () => true,
      () => false,
    );
  });
  await a.store.close();
  await a.rate.start('n8n', 'review', 2);
  await t.rejects(a.rate.start('n8n', 'review', 2), { code: 'prompts_exceeded' });
});

t.test('hang: after a failure Redis is not called again for 5 s', { skip }, async (t) => {
  const { rate, clock } = await startReplica(t, 'a');
  let calls = 0;
  rate.shareBy({
    count: async () => {
      calls += 1;
      throw new Error('no answer');
    },
    forget: async () => {},
  });
  for (let count = 0; count < 3; count++) await rate.start('n8n', 'review', 9);
  t.equal(calls, 1);
  clock.now = 5_000;
  await rate.start('n8n', 'review', 9);
  t.equal(calls, 2);
});
