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
  const rows = Object.entries(first.states).flatMap(([name, { pss, own }]) => [
    { name: `${name}, PSS`, value: pss, unit: 'MB' },
    { name: `${name}, shared with no process`, value: own, unit: 'MB' },
  ]);
  return [
    ...rows,
    { name: 'all spares, one profile, PSS', value: first.spares, unit: 'MB' },
    { name: 'all spares, four profiles, PSS', value: all.spares, unit: 'MB' },
    { name: 'four profiles / one, kept warm', value: all.spares / first.spares, unit: '', target },
  ];
}

interface Size {
  /** In MB (MiB). */
  pss: number;
  /** What ends with the process, in MB. */
  own: number;
}

async function measure(directory: string, profiles: string, apiUrl: string) {
  await using cleanup = new AsyncDisposableStack();
  const file = `${directory}.yaml`;
  await writeFile(file, `profiles: {${profiles}}\n`);
  const settings = {
    ANTHROPIC_BASE_URL: apiUrl,
    BERTH_PROFILES_FILE: file,
    // One spare for one profile, and as many for four.
    BERTH_SHARED_SPARES: '0',
  };
  const berth = await startBerth(directory, settings, cleanup);
  const sizeOf = async (state: string): Promise<Size> => {
    const [size] = await sizes(berth, state);
    return size ?? { pss: Number.NaN, own: Number.NaN };
  };
  await warmWorker(berth);
  await delay(settled);
  const spares = await sizes(berth, 'warm');
  const turn = sendPrompt(berth, { prompt: '[[slow 4000]] [[say ok]]' });
  await until('a worker is busy', async () => (await sizes(berth, 'busy')).length > 0);
  await delay(settled);
  const busy = await sizeOf('busy');
  expectAnswer(await turn);
  await delay(settled);
  return {
    spares: spares.reduce((sum, { pss }) => sum + pss, 0),
    states: { spare: spares[0] ?? busy, 'busy worker': busy, 'idle worker': await sizeOf('idle') },
  };
}

/** Milliseconds after which the CLI has released what only its start needed. */
const settled = 2_000;

async function sizes(berth: Berth, state: string): Promise<Size[]> {
  const workers = (await workersOf(berth)).filter((worker) => worker.state === state);
  return workers.map(({ pid }) => {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const read = (name: string): number =>
      Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) / 1024;
    return { pss: read('Pss'), own: read('Private_Clean') + read('Private_Dirty') };
  });
}
