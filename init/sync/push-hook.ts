/**
 * The route `POST /hooks/push`: the git server reports a push, and init asks for the refs at once.
 * Invariants: a body is bounded in bytes, time and number at a time. The answer to a genuine
 * delivery is always 202, also for a push to another ref. A delivery causes a request for the refs
 * and nothing else, so an old delivery does no harm. Requests without the secret neither count for
 * the limit of a minute nor keep a genuine delivery waiting.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { InitConfig } from '../config.ts';
import { Crowd } from './crowd.ts';
import { Deliveries, type Judgement } from './deliveries.ts';
import { type Route, send } from './probes.ts';

export interface PushHookOptions {
  /** Reads the settings again, because the secret may have changed. */
  config: () => Pick<InitConfig, 'pushSecret' | 'ref'>;
  onPush: () => void;
  onDelivery: (outcome: Judgement | 'limited' | 'too_large') => void;
}

/** A push with thousands of commits is larger; then the interval finds the commit. */
const largestBody = 1024 * 1024;
/** Bodies that are read at the same time; one more breaks off the oldest. */
const mostAtOnce = 8;
/** Genuine deliveries in a minute. */
const mostPerMinute = 120;

export function pushHook(options: PushHookOptions): Route {
  const deliveries = new Deliveries();
  const bodies = new Crowd(mostAtOnce);
  let minute = 0;
  let count = 0;
  const isLimited = () => {
    const now = Math.floor(performance.now() / 60_000);
    if (now !== minute) [minute, count] = [now, 0];
    return count >= mostPerMinute;
  };
  const handle = async (request: IncomingMessage, answer: ServerResponse): Promise<void> => {
    if (isLimited()) {
      options.onDelivery('limited');
      answer.setHeader('retry-after', '60');
      return send(answer, 429, 'too many deliveries\n');
    }
    const leave = bodies.enter(request.socket.remoteAddress, () => {
      options.onDelivery('limited');
      request.destroy();
    });
    const body = await readBody(request).finally(leave);
    // The client has gone, or its body was broken off.
    if (body === 'torn') return void answer.destroy();
    const { pushSecret, ref } = options.config();
    if (pushSecret === undefined)
      return send(answer, 404, 'not found: BERTH_PUSH_SECRET is not set\n');
    if (body === 'too large') {
      options.onDelivery('too_large');
      return send(answer, 413, `the body is larger than ${largestBody} bytes\n`);
    }
    const outcome = deliveries.judge({ headers: request.headers, body }, pushSecret, ref);
    options.onDelivery(outcome);
    if (outcome === 'forged') return send(answer, 401, 'the signature or the token is wrong\n');
    if (outcome !== 'repeated') count += 1;
    if (outcome === 'push') options.onPush();
    return send(answer, 202, 'accepted\n');
  };
  return { method: 'POST', path: '/hooks/push', handle };
}

async function readBody(request: IncomingMessage): Promise<Buffer | 'too large' | 'torn'> {
  if (Number(request.headers['content-length'] ?? 0) > largestBody) return 'too large';
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    // The connection stays, for the answer.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      length += chunk.length;
      if (length > largestBody) return 'too large';
      chunks.push(chunk);
    }
  } catch {
    return 'torn';
  }
  return Buffer.concat(chunks);
}
