/**
 * The route `POST /hooks/push`: the git server reports a push, and init asks for the refs at once.
 * Invariants: a body is bounded in bytes, time and number at a time. The answer to a genuine
 * delivery is always 202, also for a push to another ref. A delivery causes a request for the refs
 * and nothing else, so an old delivery does no harm.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { InitConfig } from '../config.ts';
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
/** Bodies that are read at the same time. */
const mostAtOnce = 8;
/** Deliveries in a minute. */
const mostPerMinute = 120;

export function pushHook(options: PushHookOptions): Route {
  const deliveries = new Deliveries();
  let reading = 0;
  let minute = 0;
  let count = 0;
  const isLimited = () => {
    const now = Math.floor(performance.now() / 60_000);
    if (now !== minute) [minute, count] = [now, 0];
    count += 1;
    return count > mostPerMinute || reading >= mostAtOnce;
  };
  const handle = async (request: IncomingMessage, answer: ServerResponse): Promise<void> => {
    const { pushSecret, ref } = options.config();
    if (pushSecret === undefined)
      return send(answer, 404, 'not found: BERTH_PUSH_SECRET is not set\n');
    if (isLimited()) {
      options.onDelivery('limited');
      answer.setHeader('retry-after', '60');
      return send(answer, 429, 'too many deliveries\n');
    }
    reading += 1;
    const body = await readBody(request).finally(() => {
      reading -= 1;
    });
    if (body === undefined) {
      options.onDelivery('too_large');
      return send(answer, 413, `the body is larger than ${largestBody} bytes\n`);
    }
    const outcome = deliveries.judge({ headers: request.headers, body }, pushSecret, ref);
    options.onDelivery(outcome);
    if (outcome === 'forged') return send(answer, 401, 'the signature or the token is wrong\n');
    if (outcome === 'push') options.onPush();
    return send(answer, 202, 'accepted\n');
  };
  return { method: 'POST', path: '/hooks/push', handle };
}

/** Undefined if the body is too large. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > largestBody) return undefined;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > largestBody) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
