/**
 * Jobs come in while supervisors are killed without warning again and again, at moments that a seed decides. Each kill takes
 * the supervisor alone, or the supervisor with all its workers. With Redis, three supervisors share the jobs, and Redis is
 * killed too.
 * What must hold: each accepted job ends once and succeeds, none is lost, none is there twice, after its end is stored no
 * request of its turn reaches the model, and its callback arrives at least once, always under one id.
 */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { makeToken } from '../../supervisor/http/tokens.ts';
import { startRedisServer } from '../support/redis-server.ts';
import { until } from '../support/until.ts';
import { KilledBerth } from './jobs-berth.ts';
import { JobCallbacks } from './jobs-callbacks.ts';
import { JobsModel, promptOf } from './jobs-model.ts';
import { Random } from './random.ts';

export interface JobsRunOptions {
  directory: string;
  /** The CLI's executable. */
  cli: string;
  jobs: number;
  /** Kills of each supervisor. */
  kills: number;
  seed: number;
  /** Milliseconds between two kills, at most. */
  between: number;
  /** Three supervisors with Redis; absent: one with the embedded store. */
  redis?: { restarts: number };
  /** Each turn lasts two seconds or more, and the time until the first kill counts from the first request to the model. */
  inTurn?: boolean;
  onKill?: (what: string) => void;
}

export interface JobsRunResult {
  /** Jobs that ended, by state. */
  ended: Record<string, number>;
  /** Jobs whose turn was continued after a kill. */
  continued: number;
  /** Requests to the model with the first text of a job, beyond the first: turns that had not ended. */
  repeated: number;
  callbacks: number;
  kills: { alone: number; withWorkers: number };
  /** Jobs in whose turn a supervisor was killed. */
  struck: number;
  problems: string[];
  seconds: number;
}

interface Kill {
  /** In milliseconds since 1970. */
  at: number;
  withWorkers: boolean;
}

interface Seen {
  id: string;
  state: string;
  ended_at: string | null;
  attempts: unknown[];
  result?: { result: string };
  error?: { code: string; detail: string };
  notes?: string[];
}

const endStates = ['succeeded', 'failed', 'cancelled', 'expired'];
/** Milliseconds without a request to the model after which the jobs that have not ended count as lost. */
const patience = 180_000;
/** Milliseconds by which the clocks of two processes on one machine may be read apart. */
const slack = 50;
/** The most milliseconds that Redis is away. */
const longestOutage = 4_000;

export async function runJobs(options: JobsRunOptions): Promise<JobsRunResult> {
  const { jobs, seed } = options;
  const began = performance.now();
  await using cleanup = new AsyncDisposableStack();
  const model = await JobsModel.start(cleanup);
  const callbacks = await JobCallbacks.open(new Random(seed + 2), cleanup);
  const scene = await makeScene(options, model, callbacks, cleanup);
  await Promise.all(scene.berths.map((berth) => berth.start()));
  const killing = killAgain(scene, model, new Random(seed), options);
  const ids = await sendJobs(scene.berths, callbacks, options, new Random(seed + 1));
  const kills = await killing;
  const progress = { last: () => Math.max(model.last, callbacks.last), from: Date.now() };
  const seen: Seen[] = [];
  for (const id of ids) seen.push(await endOf(scene.berths, id, progress));
  const reported = (): boolean => ids.every((_, index) => callbacks.isReported(index));
  await until('all callbacks have arrived', reported, patience).catch(() => undefined);
  const problems = [
    ...scene.berths.flatMap(({ fault }) => fault ?? []),
    ...(new Set(ids).size < jobs ? ['two requests got the same job'] : []),
    ...seen.flatMap((job, index) =>
      [
        ...problemsOf(job, model.requestsOf(index)),
        ...callbacks.problemsOf(index, job.id, job.state),
      ].map((problem) => `the job ${index} (${job.id}): ${problem}`),
    ),
    ...(await strangers(scene.berths, ids)),
  ];
  return {
    ended: countBy(seen.map(({ state }) => state)),
    continued: model.continued,
    repeated: model.repeated,
    callbacks: callbacks.count,
    kills: {
      alone: kills.filter(({ withWorkers }) => !withWorkers).length,
      withWorkers: kills.filter(({ withWorkers }) => withWorkers).length,
    },
    struck: seen.filter((job, index) => isStruck(job, model.requestsOf(index), kills)).length,
    problems,
    seconds: Math.round((performance.now() - began) / 1_000),
  };
}

function problemsOf(
  { state, ended_at, result, error, attempts, notes = [] }: Seen,
  requests: readonly { at: number }[],
): string[] {
  if (state !== 'succeeded') return [`it is ${state}: ${error?.code} ${error?.detail}`];
  const late = requests.filter(({ at }) => at > Date.parse(ended_at ?? '') + slack);
  return [
    ...(requests.length === 0 ? ['it has succeeded without the model'] : []),
    ...(late.length > 0 ? [`it reached the model ${late.length} times after its end`] : []),
    ...(result?.result ? [] : ['it has no result']),
    ...(attempts.length === 1 ? [] : [`it has ${attempts.length} attempts`]),
    // No supervisor is away long enough for its sessions to be lost.
    ...notes.map((note) => `it has the note "${note}"`),
  ];
}

/** Whether a kill came after the first request of the job and before its end. */
function isStruck(
  { ended_at }: Seen,
  [first]: readonly { at: number }[],
  kills: readonly Kill[],
): boolean {
  if (!first || ended_at === null) return false;
  return kills.some(({ at }) => first.at < at && at < Date.parse(ended_at));
}

interface Scene {
  berths: readonly KilledBerth[];
  redis?: { kill(): Promise<void>; start(): Promise<void> };
}

async function makeScene(
  { directory, cli, redis }: JobsRunOptions,
  model: JobsModel,
  callbacks: JobCallbacks,
  cleanup: AsyncDisposableStack,
): Promise<Scene> {
  const secretFile = join(directory, 'webhook-secret');
  await writeFile(secretFile, callbacks.secret);
  const settings = {
    BERTH_CALLBACK_HOSTS: '127.0.0.0/8',
    BERTH_WEBHOOK_SECRET_FILE: secretFile,
  };
  const common = { cli, api: model.url, token: makeToken() };
  const make = async (name: string, more: Record<string, string> = {}): Promise<KilledBerth> => {
    const berth = await KilledBerth.make({
      ...common,
      directory: join(directory, name),
      settings: { ...settings, ...more },
    });
    cleanup.defer(() => berth.end());
    return berth;
  };
  if (!redis) return { berths: [await make('berth-0')] };
  const server = await startRedisServer();
  cleanup.defer(() => server.close());
  const names = ['berth-0', 'berth-1', 'berth-2'];
  const berths = names.map((name) =>
    make(name, { BERTH_REDIS_URL: server.url, BERTH_REPLICA: name }),
  );
  return { berths: await Promise.all(berths), redis: server };
}

/**
 * Kills each supervisor `kills` times, and Redis as often as it is to restart, in a sequence that the seed decides.
 * @returns the kills of supervisors
 */
async function killAgain(
  { berths, redis: server }: Scene,
  model: JobsModel,
  random: Random,
  { kills, between, redis, inTurn, onKill }: JobsRunOptions,
): Promise<Kill[]> {
  const done: Kill[] = [];
  const victims: (number | 'redis')[] = [
    ...berths.flatMap((_, index) => Array.from({ length: kills }, () => index)),
    ...Array.from({ length: redis?.restarts ?? 0 }, () => 'redis' as const),
  ];
  if (inTurn) await until('a turn has begun', () => model.hasRequests, patience);
  while (victims.length > 0) {
    const [victim] = victims.splice(random.below(victims.length), 1);
    await delay(100 + random.below(between));
    const berth = typeof victim === 'number' ? berths[victim] : undefined;
    if (berth) {
      const withWorkers = random.below(2) === 0;
      await berth.kill(withWorkers);
      done.push({ at: Date.now(), withWorkers });
      onKill?.(`killed the supervisor ${victim}`);
      const started = berth.start();
      // Some kills come while the supervisor still starts.
      if (random.below(5) > 0) await started;
      else started.catch(() => undefined);
    } else {
      await server?.kill();
      onKill?.('killed Redis');
      await delay(random.below(longestOutage));
      await server?.start();
    }
  }
  await Promise.all(berths.map((berth) => berth.start()));
  return done;
}

/** Sends jobs until each is accepted, with a key that makes a repeated request harmless. @returns their ids */
async function sendJobs(
  berths: readonly KilledBerth[],
  callbacks: JobCallbacks,
  { jobs, inTurn }: JobsRunOptions,
  random: Random,
): Promise<string[]> {
  const ids: string[] = [];
  for (let index = 0; index < jobs; index++) {
    const body = {
      prompt: promptOf(index, random, inTurn),
      priority: random.below(3) === 0 ? 'background' : 'normal',
      callback_url: callbacks.urlOf(index),
    };
    const { id } = await until(
      `the job ${index} is accepted`,
      async () => {
        // A repeated request may go to another supervisor.
        const reply = await random
          .pick(berths)
          .call('POST', '/v1/jobs', body, { 'idempotency-key': `soak-${index}` })
          .catch(() => undefined);
        if (reply && reply.status !== 202 && reply.status !== 503) {
          throw new Error(`the job ${index} was refused: ${JSON.stringify(reply.body)}`);
        }
        return reply?.status === 202 && reply.body;
      },
      patience,
    );
    ids.push(id);
    await delay(random.below(60));
  }
  return ids;
}

/** The job when it has ended, or when nothing has reached the model for too long. */
async function endOf(
  [berth]: readonly KilledBerth[],
  id: string,
  progress: { last: () => number; from: number },
): Promise<Seen> {
  for (;;) {
    const reply = await berth?.call('GET', `/v1/jobs/${id}?wait=5s`).catch(() => undefined);
    if (reply?.status === 404) return { id, state: 'lost', ended_at: null, attempts: [] };
    if (endStates.includes(reply?.body.state)) return reply?.body;
    if (Date.now() > Math.max(progress.last(), progress.from) + patience) {
      const detail = JSON.stringify(reply?.body ?? {}).slice(0, 400);
      const error = { code: '', detail };
      return { id, state: reply?.body.state ?? 'unknown', ended_at: null, attempts: [], error };
    }
    if (!reply || reply.status >= 500) await delay(200);
  }
}

/** Jobs that nobody has sent. */
async function strangers(
  [berth]: readonly KilledBerth[],
  ids: readonly string[],
): Promise<string[]> {
  let cursor = '';
  const found: string[] = [];
  do {
    const reply = await berth?.call('GET', `/v1/jobs?limit=100${cursor && `&cursor=${cursor}`}`);
    const { body } = reply ?? { body: { jobs: [] } };
    found.push(...body.jobs.map(({ id }: Seen) => id));
    cursor = body.next ?? '';
  } while (cursor);
  const extra = found.filter((id) => !ids.includes(id));
  return [
    ...extra.map((id) => `${id} is in the store, and nobody has sent it`),
    ...(found.length < ids.length ? [`${ids.length - found.length} jobs are not in the list`] : []),
  ];
}

function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
