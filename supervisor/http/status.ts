/** `GET /v1/status`: what is going on, for a person or a script. */
import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { problemSchema } from './problems.ts';

const bytes = z.number().nullable().describe('bytes');

const level = z
  .enum(['ok', 'low', 'full'])
  .describe('Where it is full no session begins; those that exist go on');

export const statusSchema = z
  .object({
    version: z.string(),
    cli_version: z.string(),
    state: z.enum(['starting', 'serving', 'draining']),
    uptime_s: z.number(),
    workers: z.array(
      z.object({
        name: z.string(),
        state: z.enum(['starting', 'warm', 'busy', 'idle', 'recycling']),
        pid: z.number().nullable(),
        memory: bytes,
        age_s: z.number(),
      }),
    ),
    launch_failure: z.string().nullable().describe('Why no worker can be started'),
    queue: z.object({ length: z.number(), limit: z.number() }),
    memory: z.object({ limit: bytes, working_set: bytes }),
    sessions: z.number().describe('How many there are'),
    disk: z.object({
      level,
      volumes: z.array(z.object({ path: z.string(), size: z.number(), free: z.number(), level })),
    }),
    credentials: z.object({
      source: z.enum(['environment', 'file', 'none']),
      state: z.enum(['valid', 'blank', 'torn', 'missing']),
      expires_at: z.string().nullable(),
      login_expires_at: z.string().nullable(),
    }),
  })
  .describe('What is going on');

export type Status = z.infer<typeof statusSchema>;

export type StatusSource = () => Status;

export function statusRoutes(server: FastifyInstance, status: StatusSource): void {
  server.withTypeProvider<ZodTypeProvider>().route({
    method: 'GET',
    url: '/v1/status',
    schema: {
      summary: 'What is going on',
      response: { 200: statusSchema, default: problemSchema },
    },
    handler: async () => status(),
  });
}
