/**
 * Jobs a second and prompts a second, on three sessions with a process each. The ways are measured in turns, several
 * times, and the median counts. A job counts when it has ended, not when its caller hears of it.
 */
import type { Berth } from './berth.ts';
import type { BullMqAlone } from './jobs-bullmq.ts';
import { acceptJob, inLanes, jobEnd, openSession, prompt, runPrompt } from './jobs-calls.ts';
import { type Figure, quantile } from './report.ts';

const turns = 5;
const burst = 200;

/** @returns when all of it has ended, in milliseconds since 1970 */
type Way = () => Promise<number>;

/** @param berths by the name of the store */
export async function measureRates(
  berths: ReadonlyMap<string, Berth>,
  bullMq: BullMqAlone,
): Promise<Figure[]> {
  const ways = new Map<string, Way>();
  for (const [store, berth] of berths) {
    const sessions = await Promise.all([1, 2, 3].map(() => openSession(berth)));
    const sessionOf = (index: number): string => sessions[index % sessions.length] ?? '';
    ways.set(`${store}: plain prompts`, async () => {
      await inLanes(burst, async (index) => void (await runPrompt(berth, sessionOf(index))));
      return Date.now();
    });
    ways.set(`${store}: jobs accepted and run`, async () => {
      const ids: string[] = [];
      await inLanes(burst, async (index) => {
        ids.push(await acceptJob(berth, { prompt, session_id: sessionOf(index) }));
      });
      return lastEnd(ids, (id) => jobEnd(berth, id));
    });
    ways.set(`${store}: jobs accepted only`, async () => {
      await inLanes(burst, async () => void (await acceptJob(berth, { prompt, delay: '2h' })));
      return Date.now();
    });
  }
  ways.set('BullMQ alone: jobs added and run', async () => {
    const jobs: Awaited<ReturnType<BullMqAlone['add']>>[] = [];
    await inLanes(burst, async () => void jobs.push(await bullMq.add()));
    return lastEnd(jobs, (job) => bullMq.end(job));
  });
  const rates = new Map([...ways.keys()].map((name) => [name, [] as number[]]));
  for (let turn = 0; turn < turns; turn++) {
    for (const [name, run] of ways) {
      const began = Date.now();
      rates.get(name)?.push((burst / ((await run()) - began)) * 1_000);
    }
  }
  return [...rates].map(([name, all]) => ({ name, value: quantile(all, 0.5), unit: '/s' }));
}

/** When the last of these jobs has ended. */
async function lastEnd<T>(
  jobs: readonly T[],
  end: (job: T) => Promise<{ endedAt: number }>,
): Promise<number> {
  const ends: number[] = [];
  await inLanes(jobs.length, async (index) => {
    ends.push((await end(jobs[index] as T)).endedAt);
  });
  return Math.max(...ends);
}
