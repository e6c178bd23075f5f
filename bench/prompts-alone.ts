/**
 * Measures berth alone: CPU, memory and latency with a stand-in for the CLI that answers in 0 ms.
 * It sends follow-ups to as many sessions as there are workers, because a new context needs its own
 * process.
 */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { sendPrompt } from '../test/support/prompt.ts';
import { BareProcess, makePlace } from './bare.ts';
import { type Berth, expectAnswer, startBerth } from './berth.ts';
import { compete } from './compete.ts';
import { offer } from './open-loop.ts';
import { cpuOf, residentOf } from './proc.ts';
import { type Figure, quantile } from './report.ts';

const standIn = join(import.meta.dirname, '../test/support/fixtures/claude-that-answers.mjs');
const workers = 4;
/** Prompts before the measurement: the code is then compiled and the heap has its size. */
const warmUp = 2_000;
const prompts = 10_000;
const starts = 7;
const prompt = 'Say it.';

const settings = {
  BERTH_CLAUDE_PATH: standIn,
  BERTH_MAX_WORKERS: String(workers),
  BERTH_WARM_WORKERS: '0',
  BERTH_LOG_LEVEL: 'info',
};

/** @param rate prompts a second */
export async function measureAlone(directory: string, rate: number): Promise<Figure[]> {
  return [
    ...(await measureStart(directory)),
    ...(await measureAdded(directory)),
    ...(await measureLoad(directory, rate)),
  ];
}

async function measureStart(directory: string): Promise<Figure[]> {
  const times: number[] = [];
  for (let run = 0; run < starts; run++) {
    await using cleanup = new AsyncDisposableStack();
    const { startedIn } = await startBerth(join(directory, 'start'), settings, cleanup);
    times.push(startedIn);
  }
  return [{ name: 'start to listening', value: quantile(times, 0.5), unit: 'ms', target: 300 }];
}

/** Sends one prompt at a time, alternating with the same stand-in on bare pipes. */
async function measureAdded(directory: string): Promise<Figure[]> {
  await using cleanup = new AsyncDisposableStack();
  const bare = await BareProcess.warm(await makePlace(join(directory, 'bare'), ''), standIn);
  cleanup.defer(() => bare.stop());
  const berth = await startBerth(join(directory, 'added'), settings, cleanup);
  const [session_id] = await openSessions(berth, 1);
  const times = await compete(
    [
      { name: 'bare', run: () => bare.prompt(prompt) },
      {
        name: 'berth',
        run: async () => expectAnswer(await sendPrompt(berth, { prompt, session_id })),
      },
    ],
    warmUp / 2,
  );
  const added = (share: number): number =>
    quantile(times.get('berth') ?? [], share) - quantile(times.get('bare') ?? [], share);
  return [
    { name: 'alone - bare stand-in, p50', value: added(0.5), unit: 'ms', target: 1 },
    { name: 'alone - bare stand-in, p99', value: added(0.99), unit: 'ms', target: 5 },
  ];
}

async function measureLoad(directory: string, rate: number): Promise<Figure[]> {
  await using cleanup = new AsyncDisposableStack();
  const berth = await startBerth(join(directory, 'load'), settings, cleanup);
  const sessions = await openSessions(berth, workers);
  const bodies = (count: number): object[] =>
    Array.from({ length: count }, (_, index) => ({
      prompt,
      session_id: sessions[index % sessions.length],
    }));
  await offer(berth, bodies(warmUp), rate);
  const memory = watchMemory(berth.pid);
  const before = cpuOf(berth.pid);
  const { times, lost } = await offer(berth, bodies(prompts), rate);
  const cpu = cpuOf(berth.pid) - before;
  const quarters = await memory.stop();
  return [
    { name: 'CPU a prompt', value: cpu / prompts, unit: 'ms', target: 0.5 },
    { name: `at ${rate}/s, p50`, value: quantile(times, 0.5), unit: 'ms' },
    { name: `at ${rate}/s, p99`, value: quantile(times, 0.99), unit: 'ms' },
    { name: `lost of ${prompts}`, value: lost, unit: '', target: 0 },
    { name: 'memory at the end', value: quarters.last, unit: 'MB', target: 150 },
    {
      name: 'memory, last quarter / second',
      value: quarters.last / quarters.second,
      unit: '',
      target: 1.05,
    },
  ];
}

async function openSessions(berth: Berth, count: number): Promise<string[]> {
  const replies = await Promise.all(
    Array.from({ length: count }, () => sendPrompt(berth, { prompt })),
  );
  replies.forEach(expectAnswer);
  return replies.map(({ body }) => String(body.session_id));
}

/**
 * Samples the memory of a process until it is stopped; then returns the means of two quarters, in
 * MB.
 */
function watchMemory(pid: number): { stop(): Promise<{ second: number; last: number }> } {
  const seen: number[] = [];
  const over = new AbortController();
  const watching = (async () => {
    while (!over.signal.aborted) {
      seen.push(residentOf(pid));
      await delay(100, undefined, { signal: over.signal }).catch(() => undefined);
    }
  })();
  return {
    async stop() {
      over.abort();
      await watching;
      const quarter = Math.max(1, Math.floor(seen.length / 4));
      return { second: mean(seen.slice(quarter, 2 * quarter)), last: mean(seen.slice(-quarter)) };
    },
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
