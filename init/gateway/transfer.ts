/**
 * What each request to a git server shares: who asked, for which repository, with which bounds; and
 * streams that count their bytes.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { formatSize } from '../../shared/units.ts';
import type { GatewayConfig } from './gateway-settings.ts';
import type { GatewayMetrics } from './metrics.ts';
import type { PushRules } from './push-rules.ts';
import type { Place } from './repository-pattern.ts';
import type { Upstream } from './upstream.ts';

/** One request of a git client. */
export interface Transfer {
  request: IncomingMessage;
  response: ServerResponse;
  place: Place;
  rules: PushRules;
  upstream: Upstream;
  config: GatewayConfig;
  metrics: GatewayMetrics;
  /** With the fields that say who asked. */
  log: Log;
  /** Aborts at the deadline, when the client goes, and when the gateway stops. */
  signal: AbortSignal;
}

/** The reason of the signal if the client has left: nothing has failed then. */
export class ClientGone extends Error {
  constructor() {
    super('the client has gone');
  }
}

/** The client has broken a rule of the gateway; nothing has failed. */
export function isRefusal(error: unknown): boolean {
  const { code } = asBerthError(error);
  return code === 'invalid_request' || code === 'forbidden';
}

/** A stream that is passed on and counted. */
export interface Counted {
  bytes: number;
  stream: AsyncGenerator<Buffer, void>;
}

/** @throws BerthError `payload_too_large` behind `most` bytes, from the stream */
export function counted(
  source: AsyncIterable<Buffer>,
  most = Number.POSITIVE_INFINITY,
  limit = '',
): Counted {
  const counter: Counted = { bytes: 0, stream: run() };
  async function* run(): AsyncGenerator<Buffer, void> {
    for await (const chunk of source) {
      counter.bytes += chunk.length;
      if (counter.bytes > most) throw tooMuch(most, limit);
      yield chunk;
    }
  }
  return counter;
}

/** @param limit what sets the limit: the name of a setting */
export function tooMuch(most: number, limit: string): BerthError {
  return new BerthError(
    'payload_too_large',
    `cannot transfer more than ${formatSize(most)} at once: the limit of ${limit}; transfer less, or let the operator raise the limit`,
  );
}
