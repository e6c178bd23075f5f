/** A sample of `npm run bench:credentials`, and what it excuses. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { spendDays } from '../soak/credentials-days.ts';
import { Disturbing } from '../soak/credentials-disturb.ts';
import { Ledger } from '../soak/credentials-ledger.ts';
import { drawPlan } from '../soak/credentials-plan.ts';
import { BerthPod, type Pod } from '../soak/credentials-pod.ts';
import { openWorld } from '../soak/credentials-world.ts';
import { testDirectory } from '../support/directory.ts';

t.test('a day of restarts and faults loses no login that could be kept', async (t) => {
  const world = await openWorld(testDirectory(t, {}));
  t.teardown(() => world.close());
  // Malformed Secrets, another login at a refresh, a login server that answers 429, a wrong clock.
  const plan = drawPlan(1, 7);
  const { losses, ledger, outcomes, problems } = await spendDays({
    ...{ world, plan },
    // The long run has spares too. Here each would be a process for no prompt.
    pod: new BerthPod(world, { settings: { BERTH_WARM_WORKERS: '0' } }),
  });
  t.strictSame(problems, []);
  const prevented = losses.filter(({ cause }) => cause !== 'killed before it was stored');
  t.strictSame(prevented, []);
  t.ok(ledger.refreshes.length > 2);
  t.ok(ledger.untilWrittenBack(false).length > 0);
  t.ok((outcomes.get('ok') ?? 0) > 2);
});

/** Writes nothing back, however it ends. */
class Forgetful implements Pod {
  readonly followsSource = false;
  readonly volume: string;

  constructor(volume: string) {
    this.volume = volume;
    mkdirSync(volume, { recursive: true });
  }

  store(refreshToken: string): void {
    const text = JSON.stringify({ claudeAiOauth: { refreshToken } });
    writeFileSync(join(this.volume, '.credentials.json'), text);
  }

  async start(): Promise<void> {}
  async stop(): Promise<void> {}
  async kill(): Promise<void> {}
  async restart(): Promise<void> {}

  async prompt(): Promise<string> {
    return 'ok';
  }
}

t.test('a login that goes with a volume is excused by a lost node, not by a stop', async (t) => {
  const root = testDirectory(t, {});
  for (const [what, cause] of [
    ['node lost', 'volume lost before write-back'],
    ['restart, volume lost', 'unexplained'],
  ] as const) {
    const directory = join(root, cause);
    const pod = new Forgetful(join(directory, 'volume'));
    const world = await openWorld(directory);
    t.teardown(() => world.close());
    const ledger = new Ledger(world, pod.volume);
    t.teardown(() => ledger.close());
    const disturbing = new Disturbing(world, pod, ledger, {
      send: () => {},
      problem: (text) => t.fail(text),
    });
    const login = world.logIn();
    const first = world.login.logins.all[0]?.refreshToken ?? '';
    const granted = world.login.logins.refresh(first)?.refresh_token ?? '';
    world.onRequest({ refreshToken: first, received: Date.now(), outcome: 'refreshed', granted });
    pod.store(granted);
    await disturbing.cause(what, 0);
    t.equal(ledger.causeOf(login), cause, what);
  }
});
