/**
 * The schema of the profiles file; docs/profiles.schema.json is generated from it.
 * Invariants: a message completes the sentence "expected ...". No message quotes a value.
 */
import { z } from 'zod';
import { duration, size } from '../../shared/setting-types.ts';
import { isReserved } from '../claude/environment.ts';
import { reservedCommands } from '../claude/reserved-commands.ts';
import { isRepositoryPattern } from '../workspaces/repository-list.ts';
import { workspaceSchema } from '../workspaces/workspace-request.ts';
import { overridable, permissionModes } from './profile.ts';

/** Bytes: a flag may have 128 KiB on Linux, and a request may append to the profile's text. */
const longestPrompt = 64 * 1024;

/** Such as `Bash`, `Bash(git diff:*)`, `mcp__github`, `mcp__github__get_issue`. */
const ruleShape = /^[A-Za-z][A-Za-z0-9_-]*\*?(\([^\n]+\))?$/;
/** A model's name or alias, with a provider's prefix and a suffix such as `[1m]`. */
export const modelShape = /^[A-Za-z0-9][A-Za-z0-9._:/@[\]-]{0,127}$/;
export const toolRule = z
  .string({ error: 'a tool, such as Read or "Bash(git diff:*)"' })
  .max(500, { error: 'at most 500 characters' })
  .regex(ruleShape, { error: 'a tool, such as Read or "Bash(git diff:*)"' })
  .refine((rule) => !/\p{Cc}/u.test(rule), { error: 'a tool without control characters' });

/** The CLI accepts such a rule, but the rule matches nothing. */
const idle = /^(Write|NotebookEdit|MultiEdit)\(/;
const profileRule = toolRule.refine((rule) => !idle.test(rule), {
  error:
    'Edit(path): rules for Edit apply to all tools that write files, and only rules for Edit do',
});

const commandError = 'the name of a command or skill, such as review, without the slash';
const command = z
  .string({ error: commandError })
  .regex(/^[^\s/\0]{1,100}$/, { error: commandError })
  .refine((name) => !reservedCommands.has(name.toLowerCase()), {
    error:
      'a command or skill of the .claude repository: this command belongs to the CLI and can never be allowed',
  });

const nameShape = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const nameError =
  'a name of letters, digits, dots, dashes and underscores, 64 at most, that begins with a letter or a digit';
const name = z.string({ error: nameError }).regex(nameShape, { error: nameError });

const text = (longest: number) =>
  z
    .string({ error: 'a text' })
    .min(1, { error: 'a non-empty text' })
    .refine((value) => Buffer.byteLength(value) <= longest, {
      error: `at most ${longest} bytes`,
    })
    .refine((value) => !value.includes('\0'), { error: 'a text without NUL' });

const flag = z.boolean({ error: 'true or false' });
const model = z
  .string({ error: 'the name of a model' })
  .regex(modelShape, { error: 'the name of a model' });

const whole = (minimum: number, maximum: number) => {
  const error = `a whole number from ${minimum} to ${maximum}`;
  return z.int({ error }).min(minimum, { error }).max(maximum, { error });
};

const dollars = z
  .number({ error: 'US dollars above 0' })
  .positive({ error: 'US dollars above 0' })
  .max(1_000_000, { error: 'at most 1000000 US dollars' });

const percentError = 'a share from 1% to 100%, such as 60%';
/** From `60%` to 0.6. */
const percent = z
  .string({ error: percentError })
  .regex(/^([1-9]\d?|100)%$/, { error: percentError })
  .transform((text) => Number.parseInt(text, 10) / 100);

const oneOf = <const T extends readonly [string, ...string[]]>(values: T) =>
  z.enum(values, { error: `one of ${values.join(', ')}` });

const list = <T extends z.ZodType>(item: T) =>
  z.array(item, { error: 'a list' }).max(500, { error: 'at most 500 entries' });

const map = <K extends z.ZodType<string, string>, V extends z.ZodType>(key: K, value: V) =>
  z.record(key, value, {
    error: (issue) => (issue.code === 'invalid_key' ? undefined : 'a map'),
  });

/** A map of known keys; a problem names an unknown key. */
const section = <T extends z.core.$ZodShape>(shape: T) =>
  z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? undefined : 'a map'),
  });

const variableError =
  'a name such as API_KEY, but no name that berth sets or that loads code (BERTH_*, CLAUDE_CONFIG_DIR, DISABLE_TELEMETRY ..., LD_*, NODE_OPTIONS)';
const variable = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, { error: variableError })
  .refine((value) => !isReserved(value), { error: variableError });

const file = z
  .string({ error: 'an absolute path' })
  .regex(/^\/[^\0]*$/, { error: 'an absolute path' });

const environmentValue = z.union(
  [
    z.string().refine((value) => Buffer.byteLength(value) <= 65_536 && !value.includes('\0')),
    z.strictObject({ file }),
  ],
  { error: 'a text in quotes, or {file: /absolute/path}' },
);

const serverError =
  'an MCP server: {command: ..., args: [...], env: {...}} or {type: http, url: ..., headers: {...}}';
const mcpServer = z
  .looseObject(
    {
      type: z.enum(['stdio', 'http', 'sse'], { error: 'one of stdio, http, sse' }).optional(),
      command: z.string({ error: 'a program' }).min(1, { error: 'a program' }).optional(),
      args: list(z.string({ error: 'a text' })).optional(),
      env: map(z.string(), z.string({ error: 'a text in quotes' })).optional(),
      url: z.url({ error: 'a URL' }).optional(),
      headers: map(z.string(), z.string({ error: 'a text in quotes' })).optional(),
    },
    { error: serverError },
  )
  .refine(({ command, url }) => (command === undefined) !== (url === undefined), {
    error: serverError,
  });

const tools = section({
  allow: list(profileRule)
    .optional()
    .describe(
      'Permission rules: only these tools are available, and calls that match a rule run without confirmation, whatever settings.json allows. Absent: as settings.json allows',
    ),
  deny: list(profileRule)
    .optional()
    .describe('Deny rules in addition to those of settings.json; they have priority over allow'),
}).describe('The tools that the CLI may use');

const mcp = section({
  servers: map(name, mcpServer)
    .optional()
    .describe(
      'MCP servers by name; a variable in braces after a dollar sign is replaced from the environment of the profile',
    ),
  strict: flag
    .optional()
    .describe(
      "True: no other MCP server is started; false (the default): in addition to the user's MCP servers",
    ),
  required: list(text(200))
    .optional()
    .describe(
      'Names of MCP servers of the profile or the user that must be connected; otherwise a prompt is refused with mcp_unavailable',
    ),
});

const quota = section({
  five_hour: percent
    .optional()
    .describe('Share of the five-hour window, such as 60%; absent: no bound'),
  seven_day: percent
    .optional()
    .describe('Share of the weekly windows, such as 80%; absent: no bound'),
});

const limits = section({
  max_turns: whole(1, 10_000)
    .optional()
    .describe('The maximum number of model calls in one prompt'),
  max_budget_usd: dollars.optional().describe('US dollars that one prompt may cost'),
  daily_budget_usd: dollars
    .optional()
    .describe('US dollars that all prompts with this profile may cost in a day'),
  quota: quota
    .optional()
    .describe(
      "Used shares of the account's windows at which prompts of this profile are refused with quota_reserved, so that the rest stays for the account's owner",
    ),
  quota_background: quota
    .optional()
    .describe('The same for jobs of priority background, in addition to quota'),
  prompts_per_hour: whole(1, 10_000)
    .optional()
    .describe('Prompts that each token may start with this profile in any hour'),
  timeout: z
    .string({ error: 'a duration, such as 30s or 5m' })
    .pipe(duration(1_000, 86_400_000))
    .optional()
    .describe(
      'The longest time of a prompt, waiting included, such as 5m; for a job, of one run without the wait for a worker',
    ),
  background: z
    .string({ error: 'a duration, such as 30s or 10m' })
    .pipe(duration(0, 86_400_000))
    .optional()
    .describe(
      'How long background work keeps its process after an answer; 10m by default, 0s: not at all',
    ),
  memory: z
    .string({ error: 'a size, such as 512Mi or 2Gi' })
    .pipe(size(256 * 2 ** 20, 2 ** 50))
    .optional()
    .describe(
      'Memory above which a worker is ended immediately; above two thirds of this value, the worker is ended when its turn ends. Such as 2Gi',
    ),
});

const attachments = section({
  max_files: whole(0, 1_000).optional().describe('Files in one prompt; 0: none'),
  max_size: z
    .string({ error: 'a size, such as 512Ki or 5Mi' })
    .pipe(size(1, 2 ** 30))
    .optional()
    .describe('All files of one prompt together, such as 5Mi'),
}).describe('Narrower limits of attachments than those of the settings');

const repositoryPattern = z
  .string({ error: 'a repository, such as you/app, or you/*' })
  .refine(isRepositoryPattern, { error: 'a repository, such as you/app, or you/*' });

const plainText = (error: string) =>
  z.string({ error }).regex(/^[^\p{Cc}<>\n]{1,100}$/u, { error });

const workspaces = section({
  repos: list(repositoryPattern).describe(
    'Repositories that prompts may get a checkout of, such as you/app, or you/* for all of an owner; the gateway must allow them too',
  ),
  default: workspaceSchema
    .optional()
    .describe('The checkout of a session whose first prompt has no workspace'),
  instructions: flag
    .optional()
    .describe(
      'Whether the model is given the CLAUDE.md of the repository (for a pull request, that of its base); false by default. Settings, hooks and MCP servers of a repository are never used',
    ),
  publish: flag
    .optional()
    .describe('Whether prompts may push their commits and open pull requests; false by default'),
  author: section({
    name: plainText('a name'),
    email: plainText('an address, such as berth@example.com'),
  })
    .optional()
    .describe('The author of commits that berth makes of uncommitted changes'),
}).describe('Checkouts of repositories; each session then works in a directory of its own');

const approvals = section({
  tools: list(profileRule)
    .min(1, { error: 'at least one tool' })
    .describe(
      'Permission rules: a call that matches one of them waits until a person approves it; a tool is available although tools.allow does not name it',
    ),
  timeout: z
    .string({ error: 'a duration, such as 10m or 24h' })
    .pipe(duration(1_000, 7 * 86_400_000))
    .optional()
    .describe('After this time without an answer, the call is denied; 30m by default'),
  approvers: list(name).optional().describe('Names of the tokens that may decide'),
  own_prompts: flag
    .optional()
    .describe('Whether an approver may decide about prompts of its own token; false by default'),
  webhook: z
    .url({ protocol: /^https?$/, error: 'an http or https URL' })
    .max(4_096, { error: 'a URL of at most 4096 characters' })
    .optional()
    .describe(
      'The URL that receives each question as approval.requested, signed like callbacks; its host must be in BERTH_CALLBACK_HOSTS',
    ),
}).describe('What a person must approve before the CLI does it');

const profile = section({
  description: text(1_000).optional().describe('For people'),
  aliases: list(model)
    .optional()
    .describe(
      'Model names that select the profile in the APIs for other clients, such as gpt-4o, beside berth/NAME',
    ),
  model: model.optional().describe("A model or an alias; absent: the CLI's choice"),
  models: list(model)
    .optional()
    .describe('Models that a request may select, if model is in overrides; absent: any'),
  tools: tools.optional(),
  commands: list(command)
    .optional()
    .describe(
      'Commands and skills of the .claude repository with which a prompt may begin, such as /review; absent: none, a leading slash is text',
    ),
  permission_mode: oneOf(permissionModes)
    .optional()
    .describe(
      'How the CLI treats calls that match no rule; absent: manual with tools.allow, otherwise as in settings.json',
    ),
  system_prompt: text(longestPrompt).optional().describe("Replaces the CLI's own system prompt"),
  append_system_prompt: text(longestPrompt).optional().describe('Appended to the system prompt'),
  mcp: mcp.optional().describe('MCP servers'),
  environment: map(variable, environmentValue)
    .optional()
    .describe('Environment variables of the CLI, and therefore of its tools and MCP servers'),
  limits: limits.optional(),
  unprompted: oneOf(['deny', 'allow'])
    .optional()
    .describe(
      'Whether the model may schedule turns without a prompt (allow); deny, the default, hides the tools for scheduling',
    ),
  warm: whole(0, 64).optional().describe('Processes kept ready; 0 by default'),
  isolation: oneOf(['process', 'conversation'])
    .optional()
    .describe(
      'Without effect: each session has its own process (process); conversation was removed and is treated as process',
    ),
  working_directory: oneOf(['shared', 'session'])
    .optional()
    .describe(
      'Whether all sessions work in one directory (shared, the default) or each session in its own',
    ),
  approvals: approvals.optional(),
  attachments: attachments.optional(),
  workspaces: workspaces.optional(),
  tokens: list(name)
    .optional()
    .describe('Names of the tokens that may use the profile; absent: all'),
  overrides: list(oneOf(overridable))
    .optional()
    .describe('Fields that a request may set; absent: none'),
});

const token = section({
  default_profile: name.optional().describe('The profile of requests without a profile'),
  daily_budget_usd: dollars
    .optional()
    .describe("US dollars that the token's prompts may cost in a day"),
  admin: flag
    .optional()
    .describe('Whether the token may pause and resume; if no token has true, all tokens may'),
});

export const fileSchema = section({
  default: name
    .optional()
    .describe('The profile of requests that name no profile; default by default'),
  daily_budget_usd: dollars.optional().describe('US dollars that all prompts may cost in a day'),
  quota_background: quota
    .optional()
    .describe('limits.quota_background of each profile that has none of its own'),
  profiles: map(name, profile).describe('Profiles by name'),
  tokens: map(name, token).optional().describe('Settings of tokens by name'),
}).describe('Profiles of berth');

export type ProfilesDocument = z.output<typeof fileSchema>;
export type QuotaDocument = z.output<typeof quota>;
export type ProfileDocument = z.output<typeof profile>;

/** For editors. */
export function jsonSchema(): object {
  const schema = z.toJSONSchema(fileSchema, { io: 'input', target: 'draft-7' });
  return { ...schema, title: 'berth profiles' };
}
