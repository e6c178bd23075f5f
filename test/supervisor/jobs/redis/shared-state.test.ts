/** Budgets, the pause and limits over two replicas with a real Redis. */
import t, { type Test } from 'tap';
import type { UsageLimit } from '../../../../supervisor/claude/usage-limit.ts';
import { RedisJobStore } from '../../../../supervisor/jobs/redis/redis-job-store.ts';
import { Pause } from '../../../../supervisor/prompts/pause.ts';
import { SpendingLedger } from '../../../../supervisor/spending/spending.ts';
import { SharedState } from '../../../../supervisor/wiring/share-state.ts';
import { captureLog } from '../../../support/captured-log.ts';
import { testDirectory } from '../../../support/directory.ts';
import { redisServer } from '../../../support/redis-server.ts';

const server = await redisServer(t);

/** A replica with what it shares, and the logins whose limits it was told of. */
async function startReplica(
  t: Test,
  replica: string,
  now?: () => number,
  account: string | undefined = 'one',
) {
  const stateDirectory = testDirectory(t, { [replica]: {} });
  const { log } = captureLog();
  const store = new RedisJobStore({ url: server.url, log, name: t.name.slice(0, 8), replica });
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
    ...{ ledger, pause },
    accountOf: () => account,
    heard: (login, limit) => heard.push([login, limit]),
    onPaused: () => interrupted.push(pause.refusal?.code),
    ...(now ? { now } : {}),
  });
  t.teardown(() => ledger.flush());
  return { store, pause, ledger, heard, interrupted, shared };
}

t.test('budget: what all replicas have spent counts, once, on each of them', async (t) => {
  const [a, b] = [await startReplica(t, 'a'), await startReplica(t, 'b')];
  a.ledger.add('n8n', 'review', 3);
  b.ledger.add('n8n', 'review', 2);
  for (const { shared } of [a, b, a, b]) await shared.exchange();
  for (const { ledger } of [a, b]) {
    t.doesNotThrow(() => ledger.check('n8n', 'review', { token: 5.01 }));
    t.throws(() => ledger.check('n8n', 'review', { token: 5 }), { code: 'daily_budget_exceeded' });
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
});

t.test('pauses: the last pause or resume of any replica wins', async (t) => {
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

t.test('limits: a limit reaches the others of the same account once', async (t) => {
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
