/**
 * `npm run bench:credentials`: measures how long a login lasts. Simulates thirty days with the real
 * CLI and a login server whose refresh tokens work once: first with berth, then with the script
 * that berth replaces, with the same disturbances. Arguments: `berth`, `old` (default: both),
 * `days=N`, `seed=N`, `warnings` (prints berth's warnings). Ends with 1 if berth loses a login that it
 * could have kept.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Days, type Loss, spendDays } from '../test/soak/credentials-days.ts';
import type { Cause } from '../test/soak/credentials-ledger.ts';
import { OldPod } from '../test/soak/credentials-old-pod.ts';
import { drawPlan } from '../test/soak/credentials-plan.ts';
import { BerthPod, type Pod } from '../test/soak/credentials-pod.ts';
import { openWorld, type World } from '../test/soak/credentials-world.ts';
import { type Figure, quantile, report } from './report.ts';

const given = process.argv.slice(2);
const numberOf = (name: string, usual: number): number =>
  Number(new RegExp(`${name}=(\\d+)`).exec(given.join(' '))?.[1] ?? usual);
const days = numberOf('days', 30);
const seed = numberOf('seed', 1);
const plan = drawPlan(days, seed);
const both = !given.includes('berth') && !given.includes('old');
const say = (line: string): void => void process.stdout.write(`${line}\n`);

await using cleanup = new AsyncDisposableStack();
const directory = await mkdtemp(join(tmpdir(), 'berth-bench-credentials-'));
cleanup.defer(() => rm(directory, { recursive: true, force: true, maxRetries: 3 }));

async function spend(name: string, makePod: (world: World) => Pod): Promise<Days> {
  await mkdir(join(directory, name));
  const world = await openWorld(join(directory, name));
  try {
    const onDay = (day: number, losses: readonly Loss[]): void => {
      const today = losses.filter((loss) => loss.day === day);
      const lostToday = today.map(({ cause, after }) => `, login lost after "${after}": ${cause}`);
      const what = plan[day - 1]
        ?.map((planned) => planned.what)
        .filter((each) => each !== 'prompts');
      say(`${name}, day ${day} (${what?.join('; ')})${lostToday.join('')}`);
    };
    return await spendDays({ world, pod: makePod(world), plan, onDay });
  } finally {
    await world.close();
  }
}

function lost(losses: readonly Loss[], cause: Cause): number {
  return losses.filter((loss) => loss.cause === cause).length;
}

function planned(pattern: RegExp): number {
  return plan.flat().filter(({ what }) => pattern.test(what)).length;
}

function figuresOfBerth({ losses, ledger, outcomes, problems }: Days): Figure[] {
  for (const problem of problems) say(`problem: ${problem}`);
  say(`prompts: ${[...outcomes].map(([outcome, count]) => `${outcome} ${count}`).join(', ')}`);
  const quiet = ledger.untilWrittenBack(false);
  const troubled = ledger.untilWrittenBack(true);
  return [
    ...[
      {
        name: 'berth: logins lost that could be kept',
        value: lost(losses, 'unexplained'),
        target: 0,
      },
      { name: 'berth: other problems', value: problems.length, target: 0 },
      {
        name: 'berth: killed before a refresh was stored',
        value: lost(losses, 'killed before it was stored'),
        target: planned(/killed|node lost/),
      },
      {
        name: 'berth: volume lost before write-back',
        value: lost(losses, 'volume lost before write-back'),
        target: planned(/^node lost/),
      },
      { name: 'berth: refused by the login server', value: lost(losses, 'refused') },
      { name: 'berth: refreshes', value: ledger.refreshes.length },
    ].map((figure) => ({ ...figure, unit: '' })),
    ...[
      { name: 'berth: refresh to file, median', value: quantile(ledger.untilStored, 0.5) },
      { name: 'berth: refresh to file, p99', value: quantile(ledger.untilStored, 0.99) },
      { name: 'berth: refresh to Secret, median', value: quantile(quiet, 0.5) },
      { name: 'berth: refresh to Secret, p99', value: quantile(quiet, 0.99), target: 5_000 },
      {
        name: 'berth: refresh to Secret, API disturbed, most',
        value: troubled.length > 0 ? Math.max(...troubled) : 0,
      },
    ].map((figure) => ({ ...figure, unit: 'ms' })),
  ];
}

function figuresOfOld({ losses }: Days, cleared: number): Figure[] {
  const own = losses.filter(({ cause }) => cause !== 'refused');
  const figures = [
    { name: 'old script: logins lost', value: own.length },
    { name: 'old script: first lost on day', value: own[0]?.day ?? Number.NaN },
    { name: 'old script: starts that needed a person', value: cleared },
  ];
  return figures.map((figure) => ({ ...figure, unit: '' }));
}

const figures: Figure[] = [];
if (both || given.includes('berth')) {
  const warnings = given.includes('warnings');
  const pod = (world: World): Pod =>
    new BerthPod(world, {
      onLine: ({ level, event, msg }) => {
        if (warnings && level !== 'info') say(`  ${level} ${event}: ${msg}`);
      },
    });
  figures.push(...figuresOfBerth(await spend('berth', pod)));
}
if (both || given.includes('old')) {
  let pod: OldPod | undefined;
  const spent = await spend('old script', (world) => {
    pod = new OldPod(world);
    return pod;
  });
  figures.push(...figuresOfOld(spent, pod?.cleared ?? 0));
}
report(`A login in ${days} simulated days, seed ${seed}`, figures);
const missed = figures.filter(({ value, target }) => target !== undefined && !(value <= target));
process.exitCode = missed.length > 0 ? 1 : 0;
