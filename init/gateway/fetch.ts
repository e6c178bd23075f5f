/**
 * A fetch: the request and the pack pass through as they are.
 * Invariants: neither is kept in memory. What breaks before the first byte of the answer is shown by
 * git; after that, the connection breaks.
 */
import { pipeline } from 'node:stream/promises';
import { noCache } from './git-answers.ts';
import { protocolOf } from './refs.ts';
import { counted, type Transfer } from './transfer.ts';

/** Bytes of a request, which names the commits that the client has. */
const mostRequest = 16 * 1024 * 1024;

/** @throws BerthError */
export async function serveFetch(transfer: Transfer): Promise<void> {
  const { request, response, place, upstream, config, metrics, log, signal } = transfer;
  const started = performance.now();
  const { headers } = request;
  const sent = counted(request, mostRequest, 'the gateway for a request');
  const isGzip = headers['content-encoding'] === 'gzip';
  const answer = await upstream.send({
    ...{ place, service: 'git-upload-pack', body: sent.stream, signal },
    headers: {
      ...protocolOf(headers['git-protocol']),
      ...(isGzip ? { 'content-encoding': 'gzip' } : {}),
      ...(headers['content-length'] ? { 'content-length': headers['content-length'] } : {}),
    },
  });
  const received = counted(answer, config.fetchBytes, 'BERTH_GATEWAY_MAX_FETCH_BYTES');
  response.writeHead(200, { 'content-type': 'application/x-git-upload-pack-result', ...noCache });
  try {
    await pipeline(received.stream, response, { signal });
    log.info('gateway_fetched', `${place.path} was fetched from`, {
      bytes: received.bytes,
      duration_ms: Math.round(performance.now() - started),
    });
  } finally {
    metrics.bytes('fetched', received.bytes);
  }
}
