/**
 * The headers of a callback by the Standard Webhooks specification (standardwebhooks.com), version 1.
 * Invariant: a receiver that knows one of the keys accepts the message: each key has a signature of its own.
 */
import { createHmac } from 'node:crypto';

/**
 * @param id stays the same over all requests for one message
 * @param now milliseconds since 1970
 */
export function signedHeaders(
  id: string,
  body: string,
  keys: readonly Buffer[],
  now: number,
): Record<string, string> {
  const timestamp = String(Math.floor(now / 1_000));
  const signatures = keys.map((key) => {
    const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`);
    return `v1,${signature.digest('base64')}`;
  });
  return {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': signatures.join(' '),
  };
}
