/**
 * The time of one job and of the same prompt, one at a time. Each is a follow-up of a session that has a process.
 * A prompt is timed by its own `duration_ms` and a job from `created_at` to `ended_at`: so HTTP is in neither. The
 * acceptance is timed by its client, and beside it an answer that needs no store.
 */
import type { Berth } from './berth.ts';
import { compete } from './compete.ts';
import type { BullMqAlone } from './jobs-bullmq.ts';
import { askNothing, type JobTimes, openSession, prompt, runJob, runPrompt } from './jobs-calls.ts';
import { type Figure, quantile } from './report.ts';

const rounds = 200;

/** @param berths by the name of the store */
export async function measureLatency(
  berths: ReadonlyMap<string, Berth>,
  bullMq: BullMqAlone,
): Promise<Figure[]> {
  const rivals = await Promise.all(
    [...berths].map(async ([store, berth]) => {
      const session_id = await openSession(berth);
      const durations: number[] = [];
      const jobs: JobTimes[] = [];
      return {
        ...{ store, durations, jobs },
        nothing: () => askNothing(berth),
        prompt: async () => void durations.push(await runPrompt(berth, session_id)),
        job: async () => void jobs.push(await runJob(berth, { prompt, session_id })),
      };
    }),
  );
  const alone: JobTimes[] = [];
  const times = await compete(
    [
      ...rivals.flatMap(({ store, nothing, prompt: run, job }) => [
        { name: `HTTP beside ${store}`, run: nothing },
        { name: `prompt beside ${store}`, run },
        { name: `job on ${store}`, run: job },
      ]),
      { name: 'BullMQ alone', run: async () => void alone.push(await bullMq.run()) },
    ],
    rounds,
  );
  const seen = (name: string): number => quantile(times.get(name) ?? [], 0.5);
  return [
    ...rivals.flatMap(({ store, durations, jobs }) => {
      const own = quantile(durations.slice(-rounds), 0.5);
      const lived = medianOf(jobs, 'lived');
      const prompted = seen(`prompt beside ${store}`);
      return [
        ...acceptance(store, jobs, store === 'embedded' ? { target: 5 } : {}),
        figure(`${store}: an HTTP answer without the store, p50`, seen(`HTTP beside ${store}`)),
        figure(
          `${store}: an HTTP answer without the store, p99`,
          quantile(times.get(`HTTP beside ${store}`) ?? [], 0.99),
        ),
        figure(`${store}: the prompt, by its duration_ms, p50`, own),
        figure(`${store}: the job, from created_at to ended_at, p50`, lived),
        { ...figure(`${store}: the job - the prompt, by these two`, lived - own), target: 10 },
        figure(`${store}: the prompt, as its client sees it, p50`, prompted),
        figure(`${store}: POST and GET ?wait, p50`, medianOf(jobs, 'waited')),
      ];
    }),
    ...acceptance('BullMQ alone', alone),
    figure('BullMQ alone: the job, from timestamp to finishedOn, p50', medianOf(alone, 'lived')),
    figure('BullMQ alone: add and waitUntilFinished, p50', medianOf(alone, 'waited')),
  ];
}

function acceptance(
  name: string,
  jobs: readonly JobTimes[],
  judged: Pick<Figure, 'target'> = {},
): Figure[] {
  const times = jobs.slice(-rounds).map(({ accepted }) => accepted);
  return [
    figure(`${name}: accept a job, p50`, quantile(times, 0.5)),
    { ...figure(`${name}: accept a job, p99`, quantile(times, 0.99)), ...judged },
  ];
}

function medianOf(jobs: readonly JobTimes[], time: keyof JobTimes): number {
  return quantile(
    jobs.slice(-rounds).map((job) => job[time]),
    0.5,
  );
}

function figure(name: string, value: number): Figure {
  return { name, value, unit: 'ms' };
}
