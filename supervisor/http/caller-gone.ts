/** Notices that a client has closed its connection. */
import type { FastifyReply } from 'fastify';
import { BerthError } from '../../shared/errors.ts';

/**
 * Aborts when the client closes the connection before it has its answer, also if that was before this call. The reason is
 * a BerthError `interrupted`: whatever waits with the signal may throw it.
 */
export function callerGone(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  const abort = (): void =>
    gone.abort(
      new BerthError('interrupted', 'cannot answer the prompt: the caller closed the connection'),
    );
  if (reply.raw.destroyed) abort();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) abort();
  });
  return gone.signal;
}
