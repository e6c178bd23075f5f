/** The tools list_profiles and list_sessions. Invariant: they show what the caller's token may use, and nothing else. */
import { z } from 'zod';
import type { Profile } from '../../profiles/profile.ts';
import { listSessions as pageOf, pageQuerySchema, pageSchema } from '../sessions.ts';
import { type McpParts, reads, tool } from './tool.ts';

const profileSchema = z.looseObject({
  name: z.string(),
  description: z.string().nullable(),
  is_default: z.boolean().describe('Whether a prompt without a profile uses this profile'),
  model: z.string().nullable(),
  tools: z.array(z.string()).nullable().describe('The only allowed tools; null: as the settings'),
  commands: z.array(z.string()).describe('Commands that a prompt may begin with'),
  overrides: z.array(z.string()).describe('Arguments of start_job that the profile allows'),
});

export const listProfiles = tool({
  name: 'list_profiles',
  title: 'List profiles',
  description:
    'List the profiles that this caller may use: named sets of what a prompt may do, such as its tools and its model.',
  input: z.strictObject({}),
  output: z.looseObject({ profiles: z.array(profileSchema) }),
  hints: reads,
  run: async ({ profiles }, _input, { caller: { token } }) => {
    const usual = defaultOf(profiles, token);
    const allowed = profiles.all().filter(({ tokens }) => tokens?.includes(token) ?? true);
    return { structured: { profiles: allowed.map((each) => shown(each, usual)) } };
  },
});

const { shape } = pageQuerySchema;

export const listSessions = tool({
  name: 'list_sessions',
  title: 'List sessions',
  description:
    'List the conversations of this caller, the most recently used first. Continue one with its id as "session_id" of ask or start_job.',
  input: z.strictObject({
    profile: shape.profile,
    limit: z.number().int().min(1).max(200).optional().describe('Default 20'),
    cursor: shape.cursor,
  }),
  output: z.looseObject({
    sessions: z.array(z.looseObject(pageSchema.shape.sessions.element.shape)),
    next_cursor: z.string().nullable().describe('The cursor of the next page; null on the last'),
  }),
  hints: reads,
  run: async (parts, { limit = 20, ...query }, { caller: { token } }) => {
    const { sessions, next } = await pageOf(parts, { token, query: { limit, ...query } });
    return { structured: { sessions, next_cursor: next } };
  },
});

/** Undefined if the token must name a profile. */
function defaultOf(profiles: McpParts['profiles'], token: string): Profile | undefined {
  try {
    return profiles.forToken(token, undefined);
  } catch {
    return undefined;
  }
}

function shown(profile: Profile, usual: Profile | undefined) {
  const { name, description = null, model = null, tools, commands, overrides } = profile;
  const is_default = name === usual?.name;
  const allowed = tools.allow === undefined ? null : [...tools.allow];
  return {
    ...{ name, description, is_default, model, tools: allowed },
    ...{ commands: [...commands], overrides: [...overrides] },
  };
}
