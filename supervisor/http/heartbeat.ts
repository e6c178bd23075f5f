/**
 * A JSON answer that begins with white space while it is waited for: clients whose time-out counts
 * silence (n8n's HTTP Request node) stay. Always holds: nothing is sent before the first interval is
 * over, so what fails at once has its own status.
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
 * Answers with what `answer` resolves to, or with the problem that it rejects with.
 * @returns what fastify is to answer itself; the reply if it was answered here
 * @throws whatever `answer` rejects with, if nothing was sent yet
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
