/**
 * The description of the API for programs (`/openapi.json`) and for people (`/docs`). `npm run
 * docs` writes both to docs/. The bundle contains their text (scripts/bundle-supervisor.ts).
 * Invariants: the page runs no script, and the browser may load nothing.
 */
import type { FastifyReply } from 'fastify';
import { readDocument } from './read-document.ts';
import { pagePolicy } from './security-headers.ts';

/** The address is relative, because a proxy may serve berth below another path. */
export function redirectToDocs(_parts: unknown, _request: unknown, reply: FastifyReply) {
  return reply.redirect('docs');
}

export function sendOpenApi(_parts: unknown, _request: unknown, reply: FastifyReply) {
  return reply.type('application/json; charset=utf-8').send(readDocument('openapi.json'));
}

export function sendDocsPage(_parts: unknown, _request: unknown, reply: FastifyReply) {
  const page = readDocument('api.html');
  const [, style = ''] = /<style>(.*?)<\/style>/s.exec(page) ?? [];
  return reply
    .type('text/html; charset=utf-8')
    .header('content-security-policy', pagePolicy(style))
    .send(page);
}
