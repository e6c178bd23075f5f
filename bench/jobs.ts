/**
 * Measures jobs on the embedded store with a stand-in for the CLI that answers in 0 ms: how long it takes to accept a
 * job, how much slower a job is than the same prompt, jobs a second, and what 10,000 queued jobs cost. Beside them, in
 * the same run: plain `/v1/prompts`. `npm run bench:jobs`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type JsonReply, type PromptTarget, sendPrompt } from '../test/support/prompt.ts';
import { until } from '../test/support/until.ts';
import { type Berth, expectAnswer, startBerth } from './berth.ts';
import { compete } from './compete.ts';
import { residentOf } from './proc.ts';
import { type Figure, quantile, report } from './report.ts';

const standIn = join(import.meta.dirname, '../test/support/fixtures/claude-that-answers.mjs');
const prompt = 'Say it.';
const rounds = 100;
const burst = 300;
const queued = 10_000;
const lanes = 16;

const settings = {
  BERTH_CLAUDE_PATH: standIn,
  BERTH_MAX_WORKERS: '4',
  BERTH_WARM_WORKERS: '0',
  BERTH_LOG_LEVEL: 'info',
};

async function send(
  { url, token }: PromptTarget,
  method: string,
  path: string,
  body?: object,
): Promise<JsonReply> {
  const response = await fetch(new URL(path, url), {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body ? { 'content-type': 'application/json' } : {}),
    },
    body: body ? JSON.stringify(body) : null,
  });
  const contentType = response.headers.get('content-type') ?? '';
  return {
    status: response.status,
    contentType,
    body: (await response.json()) as Record<string, unknown>,
  };
}

async function accept(berth: Berth, body: object): Promise<string> {
  const reply = await send(berth, 'POST', '/v1/jobs', body);
  if (reply.status !== 202) throw new Error(`a job was refused: ${JSON.stringify(reply.body)}`);
  return String(reply.body.id);
}

/** @returns milliseconds from the acceptance of the job to its stored end, as the server has them */
async function ended(berth: Berth, id: string): Promise<number> {
  for (;;) {
    const { body } = await send(berth, 'GET', `/v1/jobs/${id}?wait=30s`);
    if (body.state === 'succeeded') {
      return Date.parse(String(body.ended_at)) - Date.parse(String(body.created_at));
    }
    if (body.state !== 'queued' && body.state !== 'running') {
      throw new Error(`${id} is ${body.state}: ${JSON.stringify(body.error)}`);
    }
  }
}

async function openSession(berth: Berth): Promise<string> {
  const reply = await sendPrompt(berth, { prompt });
  expectAnswer(reply);
  return String(reply.body.session_id);
}

/** A job beside the same prompt, one at a time, each as a follow-up of a session with a process. */
async function measureLatency(berth: Berth): Promise<Figure[]> {
  const session_id = await openSession(berth);
  const accepts: number[] = [];
  const lives: number[] = [];
  const times = await compete(
    [
      {
        name: 'prompt',
        run: async () => expectAnswer(await sendPrompt(berth, { prompt, session_id })),
      },
      {
        name: 'job',
        run: async () => {
          const began = performance.now();
          const id = await accept(berth, { prompt, session_id });
          accepts.push(performance.now() - began);
          // A long poll bundles changes for 100 ms: that is no time of the job.
          lives.push(await ended(berth, id));
        },
      },
    ],
    rounds,
  );
  const added = quantile(lives, 0.5) - quantile(times.get('prompt') ?? [], 0.5);
  return [
    { name: 'embedded: accept a job, p50', value: quantile(accepts, 0.5), unit: 'ms' },
    { name: 'embedded: accept a job, p99', value: quantile(accepts, 0.99), unit: 'ms', target: 5 },
    { name: 'embedded: a job - the same prompt, p50', value: added, unit: 'ms', target: 10 },
  ];
}

/** Jobs a second, and prompts a second, on the same sessions. */
async function measureRate(berth: Berth): Promise<Figure[]> {
  const sessions = await Promise.all([1, 2, 3].map(() => openSession(berth)));
  const bodyOf = (index: number) => ({ prompt, session_id: sessions[index % sessions.length] });
  const rateOf = async (one: (index: number) => Promise<void>): Promise<number> => {
    const began = performance.now();
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < burst) await one(next++);
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    return (burst / (performance.now() - began)) * 1_000;
  };
  const prompts = await rateOf(async (index) =>
    expectAnswer(await sendPrompt(berth, bodyOf(index))),
  );
  const jobs = await rateOf(async (index) => {
    await ended(berth, await accept(berth, bodyOf(index)));
  });
  return [
    { name: 'embedded: prompts a second', value: prompts, unit: '/s' },
    { name: 'embedded: jobs a second', value: jobs, unit: '/s' },
  ];
}

/** Interactive prompts without jobs, then with 10,000 jobs that wait; and the memory of these jobs. */
async function measureQueue(berth: Berth): Promise<Figure[]> {
  const session_id = await openSession(berth);
  const p50 = async (): Promise<number> => {
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const began = performance.now();
      expectAnswer(await sendPrompt(berth, { prompt, session_id }));
      times.push(performance.now() - began);
    }
    return quantile(times, 0.5);
  };
  await p50();
  const before = await p50();
  await delay(1_000);
  const empty = residentOf(berth.pid);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < queued) {
      next += 1;
      await accept(berth, { prompt: 'x'.repeat(1_000), not_before: tomorrow() });
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  await delay(3_000);
  const full = residentOf(berth.pid);
  const after = await p50();
  return [
    {
      name: `embedded: memory of ${queued} waiting jobs`,
      value: full - empty,
      unit: 'MB',
      target: 30,
    },
    { name: 'interactive prompt without jobs, p50', value: before, unit: 'ms' },
    { name: `interactive prompt beside ${queued} jobs, p50`, value: after, unit: 'ms' },
    { name: 'with jobs / without', value: after / before, unit: '', target: 1.1 },
  ];
}

function tomorrow(): string {
  return new Date(Date.now() + 24 * 3_600_000).toISOString();
}

const directory = mkdtempSync(join(tmpdir(), 'berth-bench-jobs-'));
try {
  await using cleanup = new AsyncDisposableStack();
  const berth = await startBerth(join(directory, 'berth'), settings, cleanup);
  await until('a job can be accepted', async () => {
    const { status } = await send(berth, 'POST', '/v1/jobs', { prompt });
    return status === 202;
  });
  const figures = [
    ...(await measureLatency(berth)),
    ...(await measureRate(berth)),
    ...(await measureQueue(berth)),
  ];
  report('Jobs', figures);
} finally {
  rmSync(directory, { recursive: true, force: true });
}
