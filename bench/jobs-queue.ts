/**
 * What 10,000 queued jobs cost: memory, and the time of interactive prompts. Two supervisors run side by side, each with
 * one job that never ends and so holds its only worker for jobs. One of them then gets 10,000 jobs, which stay `queued`.
 * Prompts are sent to both in turns: before, when both should be equal, and after.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../test/support/until.ts';
import type { Berth } from './berth.ts';
import { compete } from './compete.ts';
import {
  acceptJob,
  acceptsJobs,
  countJobs,
  inLanes,
  openSession,
  runPrompt,
} from './jobs-calls.ts';
import { residentOf } from './proc.ts';
import { type Figure, quantile } from './report.ts';

export const queued = 10_000;
const rounds = 200;

/** One token may have half of the limit. */
export const queueSettings = {
  BERTH_MAX_WORKERS: '3',
  BERTH_JOB_WORKERS: '1',
  BERTH_JOB_QUEUE_LIMIT: String(4 * queued),
};

/** @param empty the supervisor that gets no jobs; @param full the one that gets them */
export async function measureQueue(store: string, empty: Berth, full: Berth): Promise<Figure[]> {
  const sessions = await Promise.all(
    [empty, full].map(async (berth) => {
      await acceptsJobs(berth, { prompt: 'HOLD' });
      await until(
        'the job holds its worker',
        async () => (await countJobs(berth, 'running')) === 1,
      );
      return openSession(berth);
    }),
  );
  const compare = async (): Promise<{ without: number; beside: number }> => {
    const times = await compete(
      [
        { name: 'without', run: async () => void (await runPrompt(empty, sessions[0] ?? '')) },
        { name: 'beside', run: async () => void (await runPrompt(full, sessions[1] ?? '')) },
      ],
      rounds,
    );
    const p50 = (name: string): number => quantile(times.get(name) ?? [], 0.5);
    return { without: p50('without'), beside: p50('beside') };
  };
  await compare();
  const before = await compare();
  await delay(1_000);
  const memory = residentOf(full.pid);
  await inLanes(queued, async () => void (await acceptJob(full, { prompt: 'x'.repeat(1_000) })));
  await delay(3_000);
  const grown = residentOf(full.pid) - memory;
  const after = await compare();
  if ((await countJobs(full, 'queued')) < 100 || (await countJobs(full, 'succeeded')) > 0) {
    throw new Error(`the jobs of ${store} have not stayed queued`);
  }
  const named = (name: string, value: number): Figure => ({
    ...{ name: `${store}: ${name}`, value, unit: 'ms' },
  });
  return [
    { name: `${store}: memory of ${queued} queued jobs`, value: grown, unit: 'MB', target: 30 },
    named('a prompt without queued jobs, p50', after.without),
    named(`a prompt beside ${queued} queued jobs, p50`, after.beside),
    { ...named('beside / without', after.beside / after.without), unit: '', target: 1.1 },
    { ...named('the same of both before the jobs came', before.beside / before.without), unit: '' },
  ];
}
