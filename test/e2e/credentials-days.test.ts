/** A sample of `npm run bench:credentials`. */
import t from 'tap';
import { spendDays } from '../soak/credentials-days.ts';
import { drawPlan } from '../soak/credentials-plan.ts';
import { BerthPod } from '../soak/credentials-pod.ts';
import { openWorld } from '../soak/credentials-world.ts';

// 40 s of a quiet machine; of a busy one, more.
t.setTimeout(300_000);

t.test('two days of restarts, kills and faults lose no login that could be kept', async (t) => {
  t.teardown(() => {});
  const world = await openWorld(t.testdir({}));
  t.teardown(() => world.close());
  // Among others: another login, a killed pod, a wrong clock, a volume that is lost.
  const plan = drawPlan(2, 7);
  const { losses, ledger, outcomes, problems } = await spendDays({
    ...{ world, plan },
    pod: new BerthPod(world),
  });
  t.strictSame(problems, []);
  const prevented = losses.filter(({ cause }) => cause !== 'killed before it was stored');
  t.strictSame(prevented, []);
  t.ok(ledger.refreshes.length > 2);
  t.ok(ledger.untilWrittenBack(false).length > 0);
  t.ok((outcomes.get('ok') ?? 0) > 2);
});
