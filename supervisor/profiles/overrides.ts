/**
 * Applies the overrides of a request to its profile.
 * Invariants: a request changes only fields that the profile lists in `overrides`. Each change is
 * narrower than the profile: fewer tools, fewer turns, less money, less time.
 */
import { BerthError } from '../../shared/errors.ts';
import { formatDuration, parseDuration } from '../../shared/units.ts';
import { isMcpTool, type Overridable, overridable, type Profile, toolOf } from './profile.ts';
import { modelShape, toolRule } from './schema.ts';
import { tooCostly } from './schema-cost.ts';

/** The fields of a request, as the API receives them. */
export interface OverrideFields {
  model?: string | undefined;
  append_system_prompt?: string | undefined;
  allowed_tools?: readonly string[] | undefined;
  max_turns?: number | undefined;
  max_budget_usd?: number | undefined;
  output_schema?: Readonly<Record<string, unknown>> | undefined;
  timeout?: string | undefined;
}

/** Validated overrides that may be applied to the profile. */
export interface Overrides {
  model?: string;
  appendSystemPrompt?: string;
  /** The session began with instructions that do not hold for this prompt. */
  dropsInstructions?: true;
  allowedTools?: readonly string[];
  maxTurns?: number;
  maxBudgetUsd?: number;
  outputSchema?: Readonly<Record<string, unknown>>;
  /** Milliseconds; below the profile's limit. */
  timeout?: number;
}

/** In bytes; together with the profile's text it stays below the limit of one flag. */
const longestAppended = 32 * 1024;
const largestSchema = 64 * 1024;
const mostTools = 500;

/**
 * @param longest milliseconds that any prompt may take
 * @throws BerthError `invalid_request` that names the field, and the line of the profile that would
 *   allow it
 */
export function readOverrides(
  request: OverrideFields,
  profile: Profile,
  longest: number,
): Overrides {
  for (const field of overridable) {
    if (request[field] === undefined || profile.overrides.includes(field)) continue;
    throw refused(
      field,
      `the profile ${profile.name} does not allow a request to set it`,
      `add ${field} to profiles.${profile.name}.overrides in the profiles file, or omit the field`,
    );
  }
  const { model, append_system_prompt, allowed_tools, output_schema, timeout } = request;
  return {
    ...(model === undefined ? {} : { model: checkModel(model, profile) }),
    ...(append_system_prompt === undefined
      ? {}
      : { appendSystemPrompt: checkAppended(append_system_prompt) }),
    ...(allowed_tools === undefined ? {} : { allowedTools: checkTools(allowed_tools, profile) }),
    ...(output_schema === undefined ? {} : { outputSchema: checkSchema(output_schema) }),
    ...lowered('maxTurns', 'max_turns', request, profile),
    ...lowered('maxBudgetUsd', 'max_budget_usd', request, profile),
    ...(timeout === undefined ? {} : { timeout: checkTimeout(timeout, profile, longest) }),
  };
}

/** The error for a field of a request. */
export function refused(field: Overridable, cause: string, remedy: string): BerthError {
  return new BerthError('invalid_request', `cannot use "${field}": ${cause}; ${remedy}`, {
    details: { field },
  });
}

function checkModel(model: string, { name, models, model: own }: Profile): string {
  if (!modelShape.test(model)) {
    throw refused('model', 'it is not the name of a model', 'see docs/profiles.md');
  }
  if (models === undefined || model === own || models.includes(model)) return model;
  throw refused(
    'model',
    `the profile ${name} offers ${models.join(', ')}`,
    `choose one of them, or add ${JSON.stringify(model)} to profiles.${name}.models`,
  );
}

function checkAppended(text: string): string {
  if (Buffer.byteLength(text) <= longestAppended && !text.includes('\0') && text !== '') {
    return text;
  }
  throw refused(
    'append_system_prompt',
    `it is empty, has a NUL, or has more than ${longestAppended} bytes`,
    'put long instructions into the prompt',
  );
}

function checkTools(rules: readonly string[], profile: Profile): readonly string[] {
  const { allow } = profile.tools;
  // A tool that needs an approval still needs it: its ask rule has priority over an allow rule.
  const possible = allow && [...allow, ...(profile.approvals?.tools ?? [])];
  if (rules.length > mostTools) {
    throw refused('allowed_tools', `it has more than ${mostTools} entries`, 'name fewer tools');
  }
  for (const rule of rules) {
    if (!toolRule.safeParse(rule).success) {
      throw refused('allowed_tools', 'an entry is not a tool', 'name tools such as "Read"');
    }
    // Without a list of its own, a profile allows what settings.json allows, and those rules are
    // unknown here. So a request can limit the available tools; a rule could only add permissions.
    if (allow === undefined && (toolOf(rule) !== rule || isMcpTool(rule))) {
      throw refused(
        'allowed_tools',
        `with the profile ${profile.name}, which has no tools.allow, only whole built-in tools can be named, and ${JSON.stringify(rule)} is not one`,
        'name tools such as "Read", or use a profile with tools.allow',
      );
    }
    if (possible !== undefined && !possible.some((each) => covers(each, rule))) {
      throw refused(
        'allowed_tools',
        `the profile ${profile.name} does not allow ${JSON.stringify(rule)}, and a request can only narrow`,
        `add it to profiles.${profile.name}.tools.allow, or omit it`,
      );
    }
  }
  return rules;
}

/** Whether `rule` allows nothing that `wider` does not allow. */
function covers(wider: string, rule: string): boolean {
  if (wider === rule) return true;
  const [wide, tool] = [toolOf(wider), toolOf(rule)];
  if (wider !== wide) return false;
  // `mcp__github` means all tools of that server.
  return wide === tool || (isMcpTool(wide) && !wide.includes('*') && tool.startsWith(`${wide}__`));
}

/** schema-check.ts checks whether it is a valid JSON Schema. */
function checkSchema(given: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  // The CLI supports only draft 7, whose keywords later drafts share.
  const { $schema: _, ...schema } = given;
  if (schema.type !== 'object') {
    throw refused('output_schema', 'its type is not "object"', 'describe an object');
  }
  const problem = tooCostly(schema);
  if (problem) throw refused('output_schema', problem.cause, problem.remedy);
  if (Buffer.byteLength(JSON.stringify(schema)) > largestSchema) {
    throw refused('output_schema', `it has more than ${largestSchema} bytes`, 'use a smaller one');
  }
  return schema;
}

function lowered(
  key: 'maxTurns' | 'maxBudgetUsd',
  field: 'max_turns' | 'max_budget_usd',
  request: OverrideFields,
  { name, limits }: Profile,
): { maxTurns?: number; maxBudgetUsd?: number } {
  const value = request[field];
  const limit = limits[key];
  if (value === undefined) return {};
  if (value > 0 && (key === 'maxBudgetUsd' || Number.isInteger(value))) {
    if (limit === undefined || value <= limit) return { [key]: value };
  }
  throw refused(
    field,
    limit === undefined
      ? 'expected a number above 0'
      : `expected a number above 0, at most the ${limit} of the profile ${name}`,
    `lower it, or raise profiles.${name}.limits.${field}`,
  );
}

function checkTimeout(text: string, { name, limits }: Profile, longest: number): number {
  const own = limits.timeout !== undefined && limits.timeout < longest;
  const most = own ? (limits.timeout ?? longest) : longest;
  const milliseconds = parseDuration(text);
  if (milliseconds !== undefined && milliseconds > 0 && milliseconds <= most) return milliseconds;
  throw refused(
    'timeout',
    `expected a duration such as "90s", at most ${formatDuration(most)}`,
    `change it, or raise ${own ? `profiles.${name}.limits.timeout` : 'BERTH_PROMPT_TIMEOUT'}`,
  );
}
