/**
 * `POST /v1/pause` and `/v1/resume`, and what tells of such acts in the log. Always holds: an act of
 * administration leaves one line with the name of the token, also one that was refused.
 */
import type { FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Admission } from '../prompts/admission.ts';
import type { Pause } from '../prompts/pause.ts';
import { problemSchema } from './problems.ts';

/** Acts that only some tokens may do, and that are remembered. */
export type AdminAction = 'pause' | 'resume' | 'session_delete';

export interface AdminOptions {
  pause: Pause;
  admission: Pick<Admission, 'review'>;
  /** Whether a token of that name may pause and resume. */
  mayAdminister: (tokenName: string) => boolean;
  log: Log;
}

const pauseSchema = z
  .strictObject({
    reason: z
      .string()
      .max(500)
      .optional()
      .describe('Why; clients whose prompts are refused see it'),
  })
  .nullish()
  .describe('Why the server is paused');

const switchedSchema = z
  .object({
    paused: z.boolean(),
    by: z
      .string()
      .nullable()
      .describe("The name of the token that paused; an earlier pause's stays"),
    since: z.string().nullable().describe('ISO time'),
    reason: z.string().nullable(),
    durable: z.boolean().describe('Whether it would survive a restart; if not, see the log'),
  })
  .describe('Whether prompts are taken');

export function adminRoutes(server: FastifyInstance, options: AdminOptions): void {
  const { pause, admission, log } = options;
  const routes = server.withTypeProvider<ZodTypeProvider>();
  const answer = (durable: boolean) => ({
    paused: pause.state !== undefined,
    by: pause.state?.by ?? null,
    since: pause.state?.since ?? null,
    reason: pause.state?.reason ?? null,
    durable,
  });
  routes.route({
    method: 'POST',
    url: '/v1/pause',
    config: { problems: ['forbidden'] },
    schema: {
      summary: 'Take no prompts, and interrupt those that run',
      description:
        'Prompts are answered `paused` until `/v1/resume`, also after a restart. The server stays ready.',
      body: pauseSchema,
      response: { 200: switchedSchema, default: problemSchema },
    },
    handler: async (request) => {
      const reason = request.body?.reason ?? null;
      allow(request.token, 'pause', options);
      const written = pause.pause(request.token, reason);
      admission.review();
      audit(log, request.token, 'pause', { reason });
      return answer(await written);
    },
  });
  routes.route({
    method: 'POST',
    url: '/v1/resume',
    config: { problems: ['forbidden'] },
    schema: {
      summary: 'Take prompts again',
      response: { 200: switchedSchema, default: problemSchema },
    },
    handler: async (request) => {
      allow(request.token, 'resume', options);
      const written = pause.resume();
      audit(log, request.token, 'resume');
      return answer(await written);
    },
  });
}

/** One line for an act of administration: who did what, when. */
export function audit(
  log: Log,
  tokenName: string,
  action: AdminAction,
  fields: Record<string, unknown> & { refused?: boolean } = {},
): void {
  const what = fields.refused ? 'was refused' : 'did';
  log.info('audit', `${tokenName} ${what}: ${action}`, { ...fields, token: tokenName, action });
}

/** @throws BerthError `forbidden` */
function allow(tokenName: string, action: AdminAction, options: AdminOptions): void {
  if (options.mayAdminister(tokenName)) return;
  audit(options.log, tokenName, action, { refused: true });
  throw new BerthError(
    'forbidden',
    `cannot ${action} the server: the token ${tokenName} may not; use one that the profiles file allows to`,
  );
}
