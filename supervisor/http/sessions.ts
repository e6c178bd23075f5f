/** The handlers and schemas of `/v1/sessions`: the conversations of the token that calls. */
import { z } from 'zod';
import type { Log } from '../../shared/log.ts';
import type { SessionCatalog } from '../sessions/catalog.ts';
import type { SessionRecord, SessionWorkspace } from '../sessions/session-record.ts';
import { audit } from './admin.ts';

const count = z.number().int();

const summarySchema = z
  .object({
    id: z.string(),
    profile: z.string(),
    state: z
      .enum(['busy', 'idle', 'stored'])
      .describe(
        'busy: a prompt runs or waits; idle: the session has a process; stored: only a transcript exists',
      ),
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
    workspace: z
      .object({
        repo: z.string(),
        commit: z.string().describe('HEAD at the end of the last turn'),
        branch: z.string().nullable().describe('The branch that was pushed'),
        pull_request_url: z.string().nullable(),
      })
      .optional()
      .describe('The checkout of the session, if it has one'),
    forked_from: z.string().nullable(),
  })
  .describe('A session');

export const sessionSchema = summarySchema
  .extend({
    transcript_bytes: count.describe(
      'The size of the files of the session that the CLI keeps on the volume',
    ),
  })
  .describe('A session, with the size of its transcript');

export const pageSchema = z
  .object({
    sessions: z.array(summarySchema),
    next: z.string().nullable().describe('The cursor of the next page; null on the last'),
  })
  .describe('Sessions, the most recently used first');

export const pageQuerySchema = z.strictObject({
  profile: z.string().optional().describe('Only sessions of this profile'),
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().max(200).optional().describe('"next" of the page before'),
});

export const idSchema = z.object({
  id: z.uuid({ error: 'expected the session_id of an answer' }),
});

export const goneSchema = z.null().describe('It is gone');

export const interruptedSchema = z.object({
  interrupted: z.boolean().describe('Whether a turn was running'),
});

export interface SessionParts {
  catalog: SessionCatalog;
  log: Log;
}

/** A request whose path names a session. */
interface SessionRequest {
  /** The name of the caller's token. */
  token: string;
  params: z.output<typeof idSchema>;
}

export async function listSessions(
  { catalog }: SessionParts,
  { token, query }: { token: string; query: z.output<typeof pageQuerySchema> },
): Promise<z.output<typeof pageSchema>> {
  const { sessions, next } = await catalog.list(token, query);
  return { sessions: sessions.map((record) => summaryOf(record, catalog)), next: next ?? null };
}

/** @throws BerthError `session_not_found`, also if the session belongs to another token */
export async function showSession(
  { catalog }: SessionParts,
  { token, params }: SessionRequest,
): Promise<z.output<typeof sessionSchema>> {
  const { record, bytes } = await catalog.show(token, params.id);
  return { ...summaryOf(record, catalog), transcript_bytes: bytes };
}

/** @throws BerthError `session_not_found`, `volume_unwritable` */
export async function deleteSession(
  { catalog, log }: SessionParts,
  { token, params }: SessionRequest,
): Promise<null> {
  await catalog.delete(token, params.id);
  audit(log, token, 'session_delete', { session_id: params.id });
  return null;
}

/** @throws BerthError `session_not_found` */
export async function interruptSession(
  { catalog }: SessionParts,
  { token, params }: SessionRequest,
): Promise<z.output<typeof interruptedSchema>> {
  return { interrupted: await catalog.interrupt(token, params.id) };
}

function summaryOf(record: SessionRecord, catalog: SessionCatalog): z.output<typeof summarySchema> {
  const { id, profile, created_at, last_used_at, turns, cost_usd, usage } = record;
  const { working_directory, forked_from } = record;
  const state = catalog.stateOf(record);
  const figures = { created_at, last_used_at, turns, cost_usd, usage };
  return {
    ...{ id, profile, state, ...figures, working_directory, forked_from },
    ...(record.workspace && { workspace: checkoutOf(record.workspace) }),
  };
}

function checkoutOf({ repo, commit, branch, pull_request_url }: SessionWorkspace) {
  return { repo, commit, branch, pull_request_url };
}
