/**
 * Measures throughput and memory by the number of workers, with the real CLI: each worker has its
 * own session, and each session a caller who sends the next prompt after the answer of the last.
 */
import { join } from 'node:path';
import { sendPrompt } from '../test/support/prompt.ts';
import { type Berth, expectAnswer, startBerth } from './berth.ts';
import { cpuOf, residentOf } from './proc.ts';
import { type Figure, quantile } from './report.ts';

const counts = [1, 2, 4, 8, 16];
const prompt = 'Say it. [[say ok]]';
/** Turns of each session before the measurement. */
const warmUp = 5;

/**
 * @param turns of each session, measured
 * @param most workers
 */
export async function measureCurve(
  directory: string,
  apiUrl: string,
  turns: number,
  most: number,
): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const workers of counts.filter((count) => count <= most)) {
    figures.push(...(await measureAt(workers, directory, apiUrl, turns)));
  }
  return figures;
}

async function measureAt(
  workers: number,
  directory: string,
  apiUrl: string,
  turns: number,
): Promise<Figure[]> {
  await using cleanup = new AsyncDisposableStack();
  const berth = await startBerth(
    join(directory, `curve-${workers}`),
    {
      ANTHROPIC_BASE_URL: apiUrl,
      BERTH_MAX_WORKERS: String(workers),
      BERTH_WARM_WORKERS: '0',
    },
    cleanup,
  );
  const sessions = await Promise.all(Array.from({ length: workers }, () => converse(berth)));
  await Promise.all(sessions.map((session) => session(warmUp)));
  const pids = await workersOf(berth);
  const cpuBefore = pids.map(cpuOf);
  const started = performance.now();
  const times = (await Promise.all(sessions.map((session) => session(turns)))).flat();
  const seconds = (performance.now() - started) / 1_000;
  const cpu = pids.reduce((sum, pid, index) => sum + cpuOf(pid) - (cpuBefore[index] ?? 0), 0);
  const memory = pids.reduce((sum, pid) => sum + residentOf(pid), 0);
  const name = `${workers} ${workers === 1 ? 'worker' : 'workers'}`;
  return [
    { name: `${name}, throughput`, value: times.length / seconds, unit: '/s' },
    { name: `${name}, p50`, value: quantile(times, 0.5), unit: 'ms' },
    { name: `${name}, CPU of the CLI a prompt`, value: cpu / times.length, unit: 'ms' },
    { name: `${name}, memory of the CLI`, value: memory, unit: 'MB' },
    { name: `${name}, memory of berth`, value: residentOf(berth.pid), unit: 'MB' },
  ];
}

/** Runs turns of one session; returns their times in ms. */
async function converse(berth: Berth): Promise<(count: number) => Promise<number[]>> {
  const first = await sendPrompt(berth, { prompt });
  expectAnswer(first);
  const { session_id } = first.body;
  return async (count) => {
    const times: number[] = [];
    while (times.length < count) {
      const started = performance.now();
      expectAnswer(await sendPrompt(berth, { prompt, session_id }));
      times.push(performance.now() - started);
    }
    return times;
  };
}

async function workersOf({ url, token }: Berth): Promise<number[]> {
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(`${url}/v1/status`, { headers });
  const { workers } = (await response.json()) as { workers: { pid: number | null }[] };
  return workers.flatMap(({ pid }) => (pid === null ? [] : [pid]));
}
