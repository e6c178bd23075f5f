/** The calls of the API of jobs that the benchmark of jobs makes. */
import { Agent, request } from 'node:http';
import { type JsonReply, type PromptTarget, sendPrompt } from '../test/support/prompt.ts';
import { until } from '../test/support/until.ts';
import { expectAnswer } from './berth.ts';

export const prompt = 'Say it.';

/** The times of one job in milliseconds. */
export interface JobTimes {
  /** From the request to its 202. */
  accepted: number;
  /** From `created_at` to `ended_at`, as the server has stored them. */
  lived: number;
  /** From the request to the end of `GET ?wait`, as the client sees it. */
  waited: number;
}

export async function acceptJob(berth: PromptTarget, body: object): Promise<string> {
  const reply = await send(berth, 'POST', '/v1/jobs', body);
  if (reply.status !== 202) throw new Error(`a job was refused: ${JSON.stringify(reply.body)}`);
  return String(reply.body.id);
}

/** An answer for which berth reads nothing: what HTTP alone costs. */
export async function askNothing(berth: PromptTarget): Promise<void> {
  const { status } = await send(berth, 'GET', '/v1/nothing');
  if (status !== 404) throw new Error(`an unknown path was answered: ${status}`);
}

/** Runs one job to its end. */
export async function runJob(berth: PromptTarget, body: object): Promise<JobTimes> {
  const began = performance.now();
  const id = await acceptJob(berth, body);
  const accepted = performance.now() - began;
  const { lived } = await jobEnd(berth, id);
  return { accepted, lived, waited: performance.now() - began };
}

/** Waits for the end of a job. @returns when it ended, in milliseconds since 1970, and how long it lived */
export async function jobEnd(
  berth: PromptTarget,
  id: string,
): Promise<{ endedAt: number; lived: number }> {
  for (;;) {
    const { body: job } = await send(berth, 'GET', `/v1/jobs/${id}?wait=30s`);
    if (job.state === 'succeeded') {
      const endedAt = Date.parse(String(job.ended_at));
      return { endedAt, lived: endedAt - Date.parse(String(job.created_at)) };
    }
    if (job.state !== 'queued' && job.state !== 'running') {
      throw new Error(`${id} is ${job.state}: ${JSON.stringify(job.error)}`);
    }
  }
}

/** Runs one prompt. @returns its `duration_ms`, the time that berth has measured itself */
export async function runPrompt(berth: PromptTarget, session_id: string): Promise<number> {
  const reply = await sendPrompt(berth, { prompt, session_id });
  expectAnswer(reply);
  return Number(reply.body.duration_ms);
}

/** Begins a session. @returns its id; it has a process now */
export async function openSession(berth: PromptTarget): Promise<string> {
  const reply = await sendPrompt(berth, { prompt });
  expectAnswer(reply);
  return String(reply.body.session_id);
}

/** Resolves when the store of jobs has accepted a job with that body. */
export async function acceptsJobs(berth: PromptTarget, body: object = { prompt }): Promise<void> {
  await until('a job can be accepted', async () => {
    const { status } = await send(berth, 'POST', '/v1/jobs', body);
    return status === 202;
  });
}

/** The number of jobs in that state, up to 100. */
export async function countJobs(berth: PromptTarget, state: string): Promise<number> {
  const { body } = await send(berth, 'GET', `/v1/jobs?limit=100&state=${state}`);
  return (body.jobs as unknown[]).length;
}

/** Calls `one` with 0 to `count` - 1, with 16 calls at once. */
export async function inLanes(count: number, one: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await one(next++);
  };
  await Promise.all(Array.from({ length: 16 }, lane));
}

/** Keeps connections open, as a proxy or a workflow does. A call takes a third less than with `fetch`. */
const agent = new Agent({ keepAlive: true });

function send(
  { url, token }: PromptTarget,
  method: string,
  path: string,
  body?: object,
): Promise<JsonReply> {
  const text = body && JSON.stringify(body);
  const headers = {
    authorization: `Bearer ${token}`,
    ...(text ? { 'content-type': 'application/json', 'content-length': text.length } : {}),
  };
  return new Promise((resolve, reject) => {
    const sent = request(new URL(path, url), { method, headers, agent }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const status = response.statusCode ?? 0;
        const contentType = response.headers['content-type'] ?? '';
        resolve({ status, contentType, body: JSON.parse(Buffer.concat(parts).toString()) });
      });
    });
    sent.on('error', reject);
    sent.end(text);
  });
}
