/**
 * Sends white space before a JSON answer while the prompt runs. This keeps clients connected whose
 * timeout counts silence, such as the HTTP Request node of n8n.
 * Invariant: nothing is sent before the first interval is over, so an early failure has its own
 * status.
 */
import type { FastifyReply } from 'fastify';
import { BerthError } from '../../shared/errors.ts';
import { parseDuration } from '../../shared/units.ts';
import { fromThrown, toProblem } from './problems.ts';

const shortest = 1_000;
const longest = 600_000;

/** @throws BerthError `invalid_request` */
export function readHeartbeat(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const milliseconds = parseDuration(text);
  if (milliseconds !== undefined && milliseconds >= shortest && milliseconds <= longest) {
    return milliseconds;
  }
  throw new BerthError(
    'invalid_request',
    `cannot use the heartbeat ${JSON.stringify(text)}: expected a duration from 1s to 10m such as "30s"; change it`,
    { details: { field: 'heartbeat' } },
  );
}

/**
 * Sends the result of `answer`, or the problem that it rejects with.
 * @returns the body for fastify to send, or the reply if this function has sent the answer
 * @throws the rejection of `answer`, if nothing was sent yet
 */
export async function withHeartbeat<T>(
  reply: FastifyReply,
  interval: number,
  answer: Promise<T>,
): Promise<T | FastifyReply> {
  const beat = (): void => {
    if (!reply.sent) {
      reply.hijack();
      reply.raw.writeHead(200, {
        ...(reply.getHeaders() as Record<string, string>),
        'content-type': 'application/json; charset=utf-8',
      });
    }
    if (!reply.raw.destroyed) reply.raw.write(' ');
  };
  const timer = setInterval(beat, interval);
  try {
    const body = await answer;
    if (!reply.sent) return body;
    reply.raw.end(JSON.stringify(body));
  } catch (error) {
    if (!reply.sent) throw error;
    reply.raw.end(JSON.stringify(toProblem(fromThrown(error))));
  } finally {
    clearInterval(timer);
  }
  return reply;
}
