/** `/v1/sessions`: a token's own conversations. */
import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { ErrorCode } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { SessionCatalog } from '../sessions/catalog.ts';
import type { SessionRecord } from '../sessions/session-record.ts';
import { audit } from './admin.ts';
import { problemSchema } from './problems.ts';

const count = z.number().int();

const summarySchema = z
  .object({
    id: z.string(),
    profile: z.string(),
    state: z
      .enum(['busy', 'idle', 'stored'])
      .describe('A prompt runs or waits; a process is there for it; or it is a transcript alone'),
    created_at: z.string(),
    last_used_at: z.string(),
    turns: count,
    cost_usd: z.number().describe('Of all its turns, at list prices'),
    usage: z.object({
      input_tokens: count,
      output_tokens: count,
      cache_creation_input_tokens: count,
      cache_read_input_tokens: count,
    }),
    working_directory: z.object({ path: z.string(), mode: z.enum(['shared', 'session']) }),
    forked_from: z.string().nullable(),
  })
  .describe('A session');

const sessionSchema = summarySchema
  .extend({ transcript_bytes: count.describe('What the CLI keeps of it on the volume') })
  .describe('A session, with the size of its transcript');

const pageSchema = z
  .object({
    sessions: z.array(summarySchema),
    next: z.string().nullable().describe('The cursor of the next page; null on the last'),
  })
  .describe('Sessions, those first that were used last');

const idSchema = z.object({ id: z.uuid({ error: 'expected the session_id of an answer' }) });

const problems: readonly ErrorCode[] = ['session_not_found'];

export function sessionRoutes(instance: FastifyInstance, catalog: SessionCatalog, log: Log): void {
  const server = instance.withTypeProvider<ZodTypeProvider>();
  const summary = (record: SessionRecord) => {
    const { id, profile, created_at, last_used_at, turns, cost_usd, usage } = record;
    const { working_directory, forked_from } = record;
    const state = catalog.stateOf(record);
    const figures = { created_at, last_used_at, turns, cost_usd, usage };
    return { id, profile, state, ...figures, working_directory, forked_from };
  };
  server.route({
    method: 'GET',
    url: '/v1/sessions',
    schema: {
      summary: 'The sessions of this token',
      querystring: z.strictObject({
        profile: z.string().optional().describe('Only those of this profile'),
        limit: z.coerce.number().int().min(1).max(200).default(50),
        cursor: z.string().max(200).optional().describe('"next" of the page before'),
      }),
      response: { 200: pageSchema, default: problemSchema },
    },
    handler: async ({ token, query }) => {
      const { sessions, next } = await catalog.list(token, query);
      return { sessions: sessions.map(summary), next: next ?? null };
    },
  });
  server.route({
    method: 'GET',
    url: '/v1/sessions/:id',
    config: { problems },
    schema: {
      summary: 'One session',
      params: idSchema,
      response: { 200: sessionSchema, default: problemSchema },
    },
    handler: async ({ token, params }) => {
      const { record, bytes } = await catalog.show(token, params.id);
      return { ...summary(record), transcript_bytes: bytes };
    },
  });
  server.route({
    method: 'DELETE',
    url: '/v1/sessions/:id',
    config: { problems: [...problems, 'volume_unwritable'] },
    schema: {
      summary: 'Remove a session',
      description:
        'Its running turn is interrupted; its process, its transcript and its own working directory go with it.',
      params: idSchema,
      response: { 204: z.null().describe('It is gone'), default: problemSchema },
    },
    handler: async ({ token, params }, reply) => {
      await catalog.delete(token, params.id);
      audit(log, token, 'session_delete', { session_id: params.id });
      return reply.code(204).send(null);
    },
  });
  server.route({
    method: 'POST',
    url: '/v1/sessions/:id/interrupt',
    config: { problems },
    schema: {
      summary: 'Interrupt the running turn of a session',
      description:
        'Its prompt is answered with the error `interrupted`; the session can be continued. Prompts that wait for the session stay.',
      params: idSchema,
      response: {
        200: z.object({ interrupted: z.boolean().describe('Whether a turn was running') }),
        default: problemSchema,
      },
    },
    handler: async ({ token, params }) => ({
      interrupted: await catalog.interrupt(token, params.id),
    }),
  });
}
