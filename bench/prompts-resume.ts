/**
 * Measures how long a stored session takes to answer again, after 5, 50 and 500 turns: berth, whose worker was ended,
 * beside `claude -p --resume` on a copy of the same session.
 */
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { sendPrompt } from '../test/support/prompt.ts';
import { until } from '../test/support/until.ts';
import { makePlace, runClaude } from './bare.ts';
import { type Berth, expectAnswer, startBerth, workersOf } from './berth.ts';
import { compete } from './compete.ts';
import { type Figure, quantile } from './report.ts';

const prompt = 'Say it. [[say ok]]';
const lengths = [5, 50, 500];
/** The share of the time of `claude -p --resume`. */
const target = 0.9;

export async function compareResume(
  directory: string,
  apiUrl: string,
  rounds: number,
): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const turns of lengths) {
    const [theirs, ours] = await measure(join(directory, `resume-${turns}`), apiUrl, turns, rounds);
    figures.push(
      { name: `claude -p --resume, ${turns} turns, p50`, value: theirs, unit: 'ms' },
      { name: `berth, resume, ${turns} turns, p50`, value: ours, unit: 'ms' },
      {
        name: `berth / claude -p --resume, ${turns} turns`,
        value: ours / theirs,
        unit: '',
        target,
      },
    );
  }
  return figures;
}

async function measure(directory: string, apiUrl: string, turns: number, rounds: number) {
  await using cleanup = new AsyncDisposableStack();
  const config = join(directory, 'berth');
  // The spares would start while the session's process does.
  const settings = {
    ANTHROPIC_BASE_URL: apiUrl,
    BERTH_WARM_WORKERS: '0',
    BERTH_SHARED_SPARES: '0',
    BERTH_WORKER_IDLE_TIMEOUT: '1s',
  };
  const berth = await startBerth(config, settings, cleanup);
  const session_id = await makeSession(berth, turns);
  const place = await makePlace(join(directory, 'bare'), apiUrl);
  await copySession(config, join(directory, 'bare'));
  const rivals = [
    {
      name: 'theirs',
      run: async () => {
        const { code, output } = await runClaude(place, prompt, ['--resume', session_id]);
        if (code !== 0) throw new Error(`claude --resume ended with ${code}: ${output}`);
      },
    },
    {
      name: 'ours',
      ready: async () => {
        await until('its worker has ended', async () => (await workersOf(berth)).length === 0);
      },
      run: async () => expectAnswer(await sendPrompt(berth, { prompt, session_id })),
    },
  ];
  const times = await compete(rivals, rounds);
  const median = (name: string): number => quantile(times.get(name) ?? [], 0.5);
  return [median('theirs'), median('ours')] as const;
}

async function makeSession(berth: Berth, turns: number): Promise<string> {
  let session_id: unknown;
  for (let turn = 0; turn < turns; turn++) {
    const reply = await sendPrompt(berth, { prompt, ...(session_id ? { session_id } : {}) });
    expectAnswer(reply);
    session_id = reply.body.session_id;
  }
  return String(session_id);
}

/** The CLI finds a session by its id, in the folder of any working directory. */
async function copySession(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  await cp(join(from, 'projects'), join(to, 'projects'), { recursive: true });
}
