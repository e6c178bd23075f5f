/** An open loop: requests leave on schedule, whether or not the ones before are answered. */
import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'undici';
import type { PromptTarget } from '../test/support/prompt.ts';

export interface Load {
  /** ms, of the answered ones, from when each was due: a server that stalls cannot hide it. */
  times: number[];
  /** Prompts without a good answer. */
  lost: number;
}

/** Sends `bodies` at `rate` a second. */
export async function offer(
  { url, token }: PromptTarget,
  bodies: readonly object[],
  rate: number,
): Promise<Load> {
  await using cleanup = new AsyncDisposableStack();
  const pool = new Pool(url, { connections: 64, pipelining: 1 });
  cleanup.defer(() => pool.destroy());
  const load: Load = { times: [], lost: 0 };
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const send = async (body: object, due: number): Promise<void> => {
    try {
      const reply = await pool.request({
        method: 'POST',
        path: '/v1/prompts',
        headers,
        body: JSON.stringify(body),
      });
      const answer = (await reply.body.json()) as { result?: string };
      if (reply.statusCode !== 200 || answer.result !== 'ok') throw new Error('no answer');
      load.times.push(performance.now() - due);
    } catch {
      load.lost += 1;
    }
  };
  const started = performance.now();
  const sent: Promise<void>[] = [];
  while (sent.length < bodies.length) {
    const due = started + (sent.length * 1_000) / rate;
    const early = due - performance.now();
    if (early > 0) await delay(early);
    else sent.push(send(bodies[sent.length] as object, due));
  }
  await Promise.all(sent);
  return load;
}
