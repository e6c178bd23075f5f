/**
 * Measures the time of a prompt with the real CLI and a model that answers in 0 ms, compared to:
 * `claude -p` for each prompt, a server that starts `claude -p` for each prompt, and a warm CLI on
 * bare pipes. A follow-up over the bare process is a difference of a few milliseconds, so it is
 * measured by itself and more often.
 */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { sendPrompt } from '../test/support/prompt.ts';
import { BareProcess, makePlace, type Place, runClaude } from './bare.ts';
import { type Berth, expectAnswer, startBerth, warmWorker } from './berth.ts';
import { compete, type Rival } from './compete.ts';
import { type Figure, quantile } from './report.ts';
import { askSpawnServer, startSpawnServer } from './spawn-server.ts';

const prompt = 'Say it. [[say ok]]';

/**
 * The targets: the time in ms that berth adds to the bare process, and the ratio of its times to
 * those of the server that starts a CLI for each prompt.
 */
const targets = { addedMedian: 3, addedWorst: 10, newContext: 0.28, followUp: 0.12 };

/** Follow-ups for each round of the others. */
const followUpsEach = 10;

/** Milliseconds between two follow-ups. */
const pause = 50;

/** Runs all competitors, each with its own directory in `directory`. */
export async function compareLatency(
  directory: string,
  apiUrl: string,
  rounds: number,
): Promise<Figure[]> {
  await using cleanup = new AsyncDisposableStack();
  const place = (name: string): Promise<Place> => makePlace(join(directory, name), apiUrl);
  const settings = { ANTHROPIC_BASE_URL: apiUrl };
  const berth = await startBerth(join(directory, 'berth'), settings, cleanup);
  const spawning = await startSpawnServer(await place('spawning'), cleanup);
  const cold = await place('cold');
  const session = await newSession(berth);
  const rivals = [
    { name: 'claude -p', run: () => runCold(cold) },
    { name: 'spawning server', run: () => askSpawnServer(spawning, prompt) },
    bareNewContext(await place('bare-new'), cleanup),
    newContext(berth),
    // Right after a new context, while the next warm worker starts.
    { name: 'berth, follow-up beside a start', run: followUp(berth, session).run },
  ];
  const times = await compete(rivals, rounds);
  // Both begin with a process and a conversation that are equally new.
  const fresh = followUp(berth, await newSession(berth));
  const alone = [await bareFollowUp(await place('bare'), cleanup), fresh];
  await warmWorker(berth);
  const followUps = await compete(alone, rounds * followUpsEach);
  return figuresOf(new Map([...times, ...followUps]));
}

function figuresOf(times: ReadonlyMap<string, readonly number[]>): Figure[] {
  const at = (name: string, share: number): number => quantile(times.get(name) ?? [], share);
  const figures = [...times.keys()].flatMap((name) => [
    { name: `${name}, p50`, value: at(name, 0.5), unit: 'ms' },
    { name: `${name}, p99`, value: at(name, 0.99), unit: 'ms' },
  ]);
  const compared = (['new context', 'follow-up'] as const).flatMap((kind) => [
    {
      name: `berth, ${kind} / spawning server, p50`,
      value: at(`berth, ${kind}`, 0.5) / at('spawning server', 0.5),
      unit: '',
      target: kind === 'follow-up' ? targets.followUp : targets.newContext,
    },
    {
      name: `berth, ${kind} - bare, p50`,
      value: at(`berth, ${kind}`, 0.5) - at(`bare, ${kind}`, 0.5),
      unit: 'ms',
      target: targets.addedMedian,
    },
    {
      name: `berth, ${kind} - bare, p99`,
      value: at(`berth, ${kind}`, 0.99) - at(`bare, ${kind}`, 0.99),
      unit: 'ms',
      target: targets.addedWorst,
    },
  ]);
  return [...figures, ...compared];
}

async function runCold(place: Place): Promise<void> {
  const { code, output } = await runClaude(place, prompt);
  if (code !== 0) throw new Error(`claude -p ended with ${code}: ${output}`);
}

/** A process for each prompt, primed and idle when the prompt arrives, like a worker of berth. */
function bareNewContext(place: Place, cleanup: AsyncDisposableStack): Rival {
  let bare: BareProcess | undefined;
  cleanup.defer(() => bare?.stop());
  return {
    name: 'bare, new context',
    ready: async () => {
      await bare?.stop();
      bare = await BareProcess.warm(place);
    },
    run: async () => bare?.prompt(prompt),
  };
}

async function bareFollowUp(place: Place, cleanup: AsyncDisposableStack): Promise<Rival> {
  const bare = await BareProcess.warm(place);
  cleanup.defer(() => bare.stop());
  // The session of berth has had a turn too.
  await bare.prompt(prompt);
  return { name: 'bare, follow-up', ready: () => delay(pause), run: () => bare.prompt(prompt) };
}

/** Prompts that are further apart than the pool needs to make a new warm worker. */
function newContext(berth: Berth): Rival {
  return {
    name: 'berth, new context',
    ready: () => warmWorker(berth),
    run: async () => expectAnswer(await sendPrompt(berth, { prompt })),
  };
}

async function newSession(berth: Berth): Promise<string> {
  const { body } = await sendPrompt(berth, { prompt });
  return String(body.session_id);
}

function followUp(berth: Berth, session_id: string): Rival {
  return {
    name: 'berth, follow-up',
    ready: () => delay(pause),
    run: async () => expectAnswer(await sendPrompt(berth, { prompt, session_id })),
  };
}
