/**
 * Recognises requests of clients of Anthropic's and OpenAI's APIs. Such clients send their key as their API defines it,
 * and read its errors only. Besides the routes for them, they call paths of these APIs that berth does not serve.
 */
import type { FastifyRequest } from 'fastify';
import type { ErrorShape } from './error-shapes.ts';

const paths =
  /^\/v1\/(messages|chat|completions|responses|models|embeddings|moderations|files|batches|images|audio)(?=[/?]|$)/;

/** The shape of the errors of a request; undefined: that of berth. */
export function errorShapeOf({
  routeOptions,
  headers,
  url,
}: Pick<FastifyRequest, 'routeOptions' | 'headers' | 'url'>): ErrorShape | undefined {
  const { route } = routeOptions.config;
  const errors = route ? route.errors : paths.test(url) ? 'caller' : undefined;
  if (errors !== 'caller') return errors;
  return (headers['x-api-key'] ?? headers['anthropic-version']) ? 'anthropic' : 'openai';
}
