/** Notices that a client has closed its connection. */
import type { FastifyReply } from 'fastify';

/** Aborts when the client closes the connection before it has its answer, also if that was before this call. */
export function callerGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  if (reply.raw.destroyed) gone.abort();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort();
  });
  return gone.signal;
}
