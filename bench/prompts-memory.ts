/**
 * Measures the memory of the CLI processes that berth keeps ready: for one profile, and for four that differ only in
 * what a spare learns with its prompt. The proportional set size counts a page that processes share once in all.
 */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { sendPrompt } from '../test/support/prompt.ts';
import { until } from '../test/support/until.ts';
import { type Berth, expectAnswer, startBerth, warmWorker, workersOf } from './berth.ts';
import type { Figure } from './report.ts';

/** The memory for four profiles as a multiple of that for one. */
const target = 1.3;

const one = 'default: {warm: 1}';
const four = `${one}, poet: {warm: 1, append_system_prompt: Answer in verse.},
  judge: {warm: 1, model: sonnet, system_prompt: You are a judge.}, planner: {warm: 1, permission_mode: plan}`;

export async function measureWarmMemory(directory: string, apiUrl: string): Promise<Figure[]> {
  const first = await measure(join(directory, 'berth-one'), one, apiUrl);
  const all = await measure(join(directory, 'berth-four'), four, apiUrl);
  return [
    { name: 'spare of one profile, PSS', value: first.spare, unit: 'MB' },
    { name: 'worker after a turn, PSS', value: first.idle, unit: 'MB' },
    { name: 'all spares, one profile, PSS', value: first.all, unit: 'MB' },
    { name: 'all spares, four profiles, PSS', value: all.all, unit: 'MB' },
    { name: 'four profiles / one, kept warm', value: all.all / first.all, unit: '', target },
  ];
}

async function measure(directory: string, profiles: string, apiUrl: string) {
  await using cleanup = new AsyncDisposableStack();
  const file = `${directory}.yaml`;
  await writeFile(file, `profiles: {${profiles}}\n`);
  const settings = { ANTHROPIC_BASE_URL: apiUrl, BERTH_PROFILES_FILE: file };
  const berth = await startBerth(directory, settings, cleanup);
  await warmWorker(berth, 2);
  await delay(2_000);
  const ready = await sizes(berth, 'warm');
  expectAnswer(await sendPrompt(berth, { prompt: '[[say ok]]' }));
  await until('the worker is idle', async () => (await sizes(berth, 'idle')).length > 0);
  await delay(2_000);
  const [idle = Number.NaN] = await sizes(berth, 'idle');
  const [spare = Number.NaN] = ready;
  return { spare, idle, all: ready.reduce((sum, size) => sum + size, 0) };
}

/** The proportional set sizes in MB (MiB) of the workers in that state. */
async function sizes(berth: Berth, state: string): Promise<number[]> {
  const workers = (await workersOf(berth)).filter((worker) => worker.state === state);
  return workers.map(({ pid }) => {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1]) / 1024;
  });
}
