/**
 * What a process is started with for a profile and a request's overrides.
 * Always holds: processes with the same key are interchangeable, and a secret is in no flag.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { BerthError, messageOf } from '../../shared/errors.ts';
import { neverShow } from '../../shared/redact.ts';
import type { CliOptions } from '../claude/command.ts';
import type { Overrides } from './overrides.ts';
import { isMcpTool, type Profile, toolOf } from './profile.ts';
import { readForbidding } from './settings-rules.ts';
import { noSchedule, schedulingTools } from './unprompted.ts';

/** Characters of a variable that is read from a file. */
const longestValue = 65_536;

/** The flags, but for the session and what the deployment sets. */
export function cliOptionsOf(profile: Profile, overrides: Overrides = {}): CliOptions {
  const { tools, limits, mcp } = profile;
  const { allowedTools } = overrides;
  const allow = tools.allow && (allowedTools ?? tools.allow);
  const named = allow ?? allowedTools;
  // A profile without a list of its own leaves the MCP tools to settings.json; a request that names
  // its tools has named all that it wants.
  const noMcp = tools.allow === undefined && allowedTools !== undefined;
  return {
    model: overrides.model ?? profile.model,
    // What a list of tools bounds, a wide mode in settings.json must not undo.
    permissionMode: profile.permissionMode ?? (allow ? 'manual' : undefined),
    systemPrompt: profile.systemPrompt,
    appendSystemPrompt: joined(profile.appendSystemPrompt, overrides.appendSystemPrompt),
    freshInstructions: overrides.appendSystemPrompt !== undefined,
    availableTools: named && builtInTools(named),
    allowRules: allow,
    denyRules: [
      ...tools.deny,
      ...(noMcp ? ['mcp__*'] : []),
      ...(profile.unprompted === 'deny' ? schedulingTools : []),
    ],
    mcpServers: mcp.servers,
    strictMcp: mcp.strict,
    maxTurns: overrides.maxTurns ?? limits.maxTurns,
    maxBudgetUsd: overrides.maxBudgetUsd ?? limits.maxBudgetUsd,
    outputSchema: overrides.outputSchema,
  };
}

function joined(one: string | undefined, other: string | undefined): string | undefined {
  const texts = [one, other].filter((text) => text !== undefined);
  return texts.length > 0 ? texts.join('\n\n') : undefined;
}

/** Rules for places, `Edit(docs/**)`, count for Write too: then it is there as well. */
function builtInTools(rules: readonly string[]): string[] {
  const named = rules.map(toolOf).filter((tool) => !isMcpTool(tool));
  const writes = rules.some((rule) => rule.startsWith('Edit('));
  return [...new Set([...named, ...(writes ? ['Write'] : [])])];
}

/**
 * All that a process is started with, but for its session: the flags, with what settings.json
 * forbids, and the variables of the profile.
 * @throws BerthError `cli_unavailable` if the file of a variable cannot be read
 */
export function launchOf(
  profile: Profile,
  overrides: Overrides,
  configDirectory: string,
): { options: CliOptions; environment: Record<string, string> } {
  const options = cliOptionsOf(profile, overrides);
  const environment = {
    ...readEnvironment(profile),
    ...(profile.unprompted === 'deny' ? noSchedule : {}),
  };
  // With rules of its own a profile sets all of settings.json aside, these too.
  const forbidding = options.allowRules ? readForbidding(configDirectory) : [];
  const denyRules = [...new Set([...(options.denyRules ?? []), ...forbidding])];
  return { options: { ...options, denyRules }, environment };
}

/**
 * Names all that a process is started with, but for its session. It changes with what the profile
 * says of processes, so that a reload renews those that wait; not with what it says of others.
 */
export function keyOf(profile: Profile, overrides: Overrides = {}): string {
  // The timeout is no matter of the process.
  const { timeout: _, ...changed } = overrides;
  if (Object.keys(changed).length > 0) return digestOf(profile, changed);
  const known = keys.get(profile) ?? digestOf(profile, {});
  keys.set(profile, known);
  return known;
}

/** Of profiles with nothing changed, for each prompt asks: a profile is never changed itself. */
const keys = new WeakMap<Profile, string>();

function digestOf(profile: Profile, overrides: Overrides): string {
  const parts = {
    options: cliOptionsOf(profile, overrides),
    environment: profile.environment,
    secrets: profile.secretDigest,
    workingDirectory: profile.workingDirectory,
  };
  const digest = createHash('sha256').update(JSON.stringify(parts, sortKeys)).digest('base64url');
  return `${profile.name}:${digest.slice(0, 16)}`;
}

function sortKeys(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * The variables of the profile, those in files read now. A newline at the end is not part of it.
 * @throws BerthError `cli_unavailable` that names the variable
 */
function readEnvironment(profile: Profile): Record<string, string> {
  const read: Record<string, string> = {};
  for (const name of Object.keys(profile.environment)) {
    read[name] = readVariable(profile, name) ?? '';
  }
  return read;
}

/** Literal values of such variables are secrets too. */
const secretName = /KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL/;

/**
 * One variable of the profile; a secret is never shown from now on.
 * @throws BerthError `cli_unavailable` that names the variable
 */
export function readVariable(profile: Profile, name: string): string | undefined {
  const value = profile.environment[name];
  if (value === undefined) return undefined;
  const literal = typeof value === 'string';
  const read = literal ? value : readSecret(value.file, name, profile.name);
  // A path to a secret is none.
  if (!literal || (secretName.test(name) && !value.startsWith('/'))) neverShow(read);
  return read;
}

/** At once, for so is a process started; a mounted Secret lies in memory. */
function readSecret(file: string, name: string, profile: string): string {
  const failed = (cause: string, error?: unknown): BerthError =>
    new BerthError(
      'cli_unavailable',
      `cannot start a worker of the profile ${profile}: the file of its variable ${name} ${cause}; mount the Secret, or correct profiles.${profile}.environment.${name}.file`,
      { cause: error },
    );
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw failed(`cannot be read (${messageOf(error)})`, error);
  }
  const value = text.replace(/\r?\n$/, '');
  if (value.length > longestValue || value.includes('\0')) {
    throw failed(`has a NUL or more than ${longestValue} characters`);
  }
  return value;
}
