/**
 * The record of a session and its form on the volume.
 * Invariants: a record of version 1 is read as a record of version 2. A newer version, or another
 * shape, is not a record. All values can be summed and shown by the API.
 */
import { z } from 'zod';

/** Far below the largest exact integer, so that sums stay exact. */
const count = z.int().nonnegative().max(1e12);
const dollars = z.number().nonnegative().max(1e9);
const time = z.iso.datetime();

const usage = z.object({
  input_tokens: count,
  output_tokens: count,
  cache_creation_input_tokens: count,
  cache_read_input_tokens: count,
});

const name = z.string().max(256);
const path = z.string().max(4096);

const common = {
  id: z.uuid(),
  /** The name of the token that began the session: no other token may continue it. */
  token: name,
  created_at: time,
  last_used_at: time,
  turns: count,
  /** US dollars at list prices, of all its turns. */
  cost_usd: dollars,
};

const first = z.object({ version: z.literal(1), ...common });

/**
 * Options of a session's first prompt apply to its later prompts too, unless they set other values.
 */
export const sessionFlags = z.object({
  model: z.string().max(200).optional(),
  append_system_prompt: z.string().max(65_536).optional(),
  allowed_tools: z.array(z.string().max(500)).max(500).optional(),
});

/** The maximum size of the flags as JSON in bytes: a record is a small file. */
export const longestFlags = 48 * 1024;

/** The maximum size of the reports of background work as JSON in bytes. */
export const mostReportBytes = 48 * 1024;

export type SessionFlags = z.infer<typeof sessionFlags>;

/** The output of the CLI when background work ended. */
const report = z.object({
  at: z.string().max(64),
  result: z.string().max(64 * 1024),
  is_error: z.boolean(),
});

const commit = z.string().regex(/^[0-9a-f]{40}$/);
const short = z.string().max(300);

/** The checkout that a session works in (supervisor/workspaces). */
const sessionWorkspace = z.object({
  repo: short,
  pull_request: z.int().nullable(),
  /** The only folder of the checkout; null: the whole tree. */
  path: z.string().max(1_000).nullable(),
  depth: z.int().nullable(),
  /** The commit with which the session began. */
  start: commit,
  /** The merge base of the pull request; null if there is none. */
  base: commit.nullable(),
  /** The branch of the checkout; null: HEAD was detached. */
  checked_out: short.nullable(),
  /** The branch into which a pull request of the session goes; null: the default branch. */
  base_branch: short.nullable(),
  /** HEAD at the end of the last turn. */
  commit,
  /** The branch to which commits of the session were pushed. */
  branch: short.nullable(),
  pull_request_url: z.string().max(2_000).nullable(),
});

export type SessionWorkspace = z.infer<typeof sessionWorkspace>;

const second = z.object({
  version: z.literal(2),
  ...common,
  /** The session is resumed with this profile only. */
  profile: name,
  /** Tokens of all its turns. */
  usage,
  /** The last working directory of its processes. */
  working_directory: z.object({ path, mode: z.enum(['shared', 'session']) }),
  forked_from: z.uuid().nullable(),
  /** Options of the first prompt that must be the same on each resume. */
  flags: sessionFlags,
  /** The CLI version that last served the session; null if unknown. */
  cli_version: name.nullable(),
  /**
   * The conversation of a client that sends its whole history each time: the key of the history that the session
   * has, and the id of its last response.
   */
  conversation: z
    .object({ key: z.string().max(64), response: z.string().max(64).optional() })
    .optional(),
  /** Absent: the session has no checkout. */
  workspace: sessionWorkspace.optional(),
  /** Reports that no answer has contained yet. */
  background: z.array(report).max(100).optional(),
});

export type SessionRecord = z.infer<typeof second>;

export type BackgroundReport = z.infer<typeof report>;

const versioned = z.looseObject({ version: z.int() });

export const recordVersion = 2;

export const noUsage: SessionRecord['usage'] = {
  input_tokens: 0,
  output_tokens: 0,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
};

/**
 * Parses a record.
 * @param sharedDirectory where sessions of version 1 ran
 * @throws Error if the text is not a record of a known version
 */
export function parseRecord(text: string, sharedDirectory: string): SessionRecord {
  const content: unknown = JSON.parse(text);
  if (versioned.parse(content).version !== 1) return second.parse(content);
  return {
    ...first.parse(content),
    version: recordVersion,
    profile: 'default',
    usage: noUsage,
    working_directory: { path: sharedDirectory, mode: 'shared' },
    forked_from: null,
    flags: {},
    cli_version: null,
  };
}

/** Whether the text is a record of a version that this program does not support. */
export function isNewer(text: string): boolean {
  try {
    return versioned.parse(JSON.parse(text)).version > recordVersion;
  } catch {
    return false;
  }
}

/** The sum of two usages. */
export function addUsage(
  one: SessionRecord['usage'],
  other: SessionRecord['usage'],
): SessionRecord['usage'] {
  return {
    input_tokens: one.input_tokens + other.input_tokens,
    output_tokens: one.output_tokens + other.output_tokens,
    cache_creation_input_tokens:
      one.cache_creation_input_tokens + other.cache_creation_input_tokens,
    cache_read_input_tokens: one.cache_read_input_tokens + other.cache_read_input_tokens,
  };
}
