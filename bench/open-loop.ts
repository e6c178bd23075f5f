/**
 * An open loop: requests are sent on schedule, whether or not the earlier requests were answered.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'undici';
import type { PromptTarget } from '../test/support/prompt.ts';

export interface Load {
  /**
   * ms of each answered request, from when it was due, so that a stall of the server is visible.
   */
  times: number[];
  /** The number of prompts without a good answer. */
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
      const { status, text } = await post(pool, headers, JSON.stringify(body));
      const { result } = JSON.parse(text) as { result?: string };
      if (status !== 200 || result !== 'ok') throw new Error('no answer');
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

/** Sends the body as text, without a stream, to leave CPU time for the measured server. */
function post(
  pool: Pool,
  headers: Record<string, string>,
  body: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let status = 0;
    pool.dispatch(
      { method: 'POST', path: '/v1/prompts', headers, body },
      {
        onRequestStart: () => undefined,
        onResponseStart: (_controller, code) => {
          status = code;
        },
        onResponseData: (_controller, chunk) => {
          chunks.push(chunk);
        },
        onResponseEnd: () => resolve({ status, text: Buffer.concat(chunks).toString('utf8') }),
        onResponseError: (_controller, error) => reject(error),
      },
    );
  });
}
