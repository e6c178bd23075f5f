/**
 * The handlers and schemas of `POST /v1/pause` and `/v1/resume`, and the audit lines of the log.
 * Invariants: each administrative action leaves one log line with the name of the token, also if the
 * action was refused.
 */
import { z } from 'zod';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Admission } from '../prompts/admission.ts';
import type { Pause } from '../prompts/pause.ts';

/** Actions that are written to the log as `audit`. */
export type AdminAction = 'pause' | 'resume' | 'session_delete' | 'job_delete';

export interface AdminParts {
  pause: Pause;
  admission: Pick<Admission, 'review'>;
  /** Whether a token of that name may pause and resume. */
  mayAdminister: (tokenName: string) => boolean;
  log: Log;
}

export const pauseSchema = z
  .strictObject({
    reason: z
      .string()
      .max(500)
      .optional()
      .describe('Why; clients whose prompts are refused see it'),
  })
  .nullish()
  .describe('Why the server is paused');

export const switchedSchema = z
  .object({
    paused: z.boolean(),
    by: z
      .string()
      .nullable()
      .describe('The name of the token that paused; a second pause does not change it'),
    since: z.string().nullable().describe('ISO time'),
    reason: z.string().nullable(),
    durable: z.boolean().describe('Whether it would survive a restart; if not, see the log'),
  })
  .describe('Whether prompts are accepted');

type Switched = z.output<typeof switchedSchema>;

/** Pauses the server. The pause counts at once; the answer waits until it is on the volume. */
export async function pauseServer(
  { pause, admission, log }: AdminParts,
  { token, body }: { token: string; body: z.output<typeof pauseSchema> },
): Promise<Switched> {
  const reason = body?.reason ?? null;
  const written = pause.pause(token, reason);
  admission.review();
  audit(log, token, 'pause', { reason });
  return answer(pause, await written);
}

export async function resumeServer(
  { pause, log }: AdminParts,
  { token }: { token: string },
): Promise<Switched> {
  const written = pause.resume();
  audit(log, token, 'resume');
  return answer(pause, await written);
}

function answer({ state }: Pause, durable: boolean): Switched {
  const { by = null, since = null, reason = null } = state ?? {};
  return { paused: state !== undefined, by, since, reason, durable };
}

/** Logs an administrative action: which token, which action, and whether it was refused. */
export function audit(
  log: Log,
  tokenName: string,
  action: AdminAction,
  fields: Record<string, unknown> & { refused?: boolean } = {},
): void {
  const what = fields.refused ? 'was refused' : 'did';
  log.info('audit', `${tokenName} ${what}: ${action}`, { ...fields, token: tokenName, action });
}

/** @throws BerthError `forbidden` if the token may not administer the server */
export function assertAdmin(
  { mayAdminister, log }: Pick<AdminParts, 'mayAdminister' | 'log'>,
  tokenName: string,
  action: AdminAction,
): void {
  if (mayAdminister(tokenName)) return;
  audit(log, tokenName, action, { refused: true });
  throw new BerthError(
    'forbidden',
    `cannot ${action} the server: the token ${tokenName} may not; use a token that the profiles file allows to administer it`,
  );
}
