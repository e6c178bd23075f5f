/**
 * Builds the start parameters of a process from a profile and a request's overrides.
 * Invariants: processes with the same key are interchangeable. No flag contains a secret.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { BerthError, messageOf } from '../../shared/errors.ts';
import { neverShow } from '../../shared/redact.ts';
import type { CliOptions } from '../claude/flags.ts';
import { type LateOptions, splitOptions } from '../claude/late-options.ts';
import type { Overrides } from './overrides.ts';
import { isMcpTool, type Profile, toolOf } from './profile.ts';
import { readForbidding } from './settings-rules.ts';
import { noSchedule, schedulingTools } from './unprompted.ts';

/** The maximum length of a variable that is read from a file, in characters. */
const longestValue = 65_536;

/** The flags, without the session and the deployment's settings. */
function cliOptionsOf(profile: Profile, overrides: Overrides = {}): CliOptions {
  const { tools, limits, mcp } = profile;
  const { allowedTools } = overrides;
  const allow = tools.allow && (allowedTools ?? tools.allow);
  const named = allow ?? allowedTools;
  const ask = profile.approvals && askRulesOf(profile.approvals.tools);
  // A request that names its tools has named all the tools that it needs.
  const available = named && [...named, ...(allowedTools ? [] : (ask ?? []))];
  // Without a list in the profile, settings.json decides about MCP tools. A request that names its
  // tools has named all the tools that it needs.
  const noMcp = tools.allow === undefined && allowedTools !== undefined;
  return {
    model: overrides.model ?? profile.model,
    // A permissive mode in settings.json must not widen a list of tools.
    // A permissive mode of settings.json must not skip a question either.
    permissionMode: profile.permissionMode ?? (allow || ask ? 'manual' : undefined),
    systemPrompt: profile.systemPrompt,
    appendSystemPrompt: joined(profile.appendSystemPrompt, overrides.appendSystemPrompt),
    freshInstructions:
      overrides.appendSystemPrompt !== undefined || overrides.dropsInstructions === true,
    availableTools: available && builtInTools(available),
    allowRules: allow,
    ...(ask ? { askRules: ask } : {}),
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

/** The whole rule Edit means all tools that write files: the CLI would ask about Edit alone. */
function askRulesOf(tools: readonly string[]): string[] {
  const writing = tools.includes('Edit') ? ['Write', 'NotebookEdit'] : [];
  return [...new Set([...tools, ...writing])];
}

function joined(one: string | undefined, other: string | undefined): string | undefined {
  const texts = [one, other].filter((text) => text !== undefined);
  return texts.length > 0 ? texts.join('\n\n') : undefined;
}

/** Rules with paths, `Edit(docs/**)`, count for Write too, so Write is available as well. */
function builtInTools(rules: readonly string[]): string[] {
  const named = rules.map(toolOf).filter((tool) => !isMcpTool(tool));
  const writes = rules.some((rule) => rule.startsWith('Edit('));
  return [...new Set([...named, ...(writes ? ['Write'] : [])])];
}

/**
 * What a shared spare of the profile learns for a prompt; undefined if only the start of a process can do it: for
 * a number of turns, a budget, or tools that a spare cannot narrow.
 */
export function lateOptionsOf(profile: Profile, overrides: Overrides): LateOptions | undefined {
  const { allowedTools: onlyTools, maxTurns, maxBudgetUsd, ...others } = overrides;
  if (maxTurns !== undefined || maxBudgetUsd !== undefined) return undefined;
  if (onlyTools && !canNarrowLate(profile, onlyTools)) return undefined;
  return { ...splitOptions(cliOptionsOf(profile, others)).late, onlyTools };
}

/**
 * The CLI (2.1.330) offers these tools whatever else is available, under these names. It offers others, such as Grep,
 * only where `--tools` names them.
 */
const alwaysOffered = ['Bash', 'Edit', 'Read', 'Write'];

/**
 * Whether a spare can be limited to these tools. Shell commands inside a command or a skill (`!`) follow the
 * permission rules of the spare and not its list of tools, so without Bash nothing may run a command or a skill.
 */
function canNarrowLate(profile: Profile, only: readonly string[]): boolean {
  const known = only.every((rule) => alwaysOffered.includes(rule) || isWholeMcp(rule));
  return known && (only.includes('Bash') || profile.commands.length === 0);
}

/** A server or a tool of a server, without a pattern. */
function isWholeMcp(rule: string): boolean {
  return isMcpTool(rule) && /^[\w-]+$/.test(rule);
}

/** The start parameters of the shared spares that serve the profile. */
export function sharedLaunchOf(profile: Profile, configDirectory: string): Launch {
  const { options, environment } = launchOf(profile, {}, configDirectory);
  return { options: splitOptions(options).fixed, environment };
}

/** A key of the start parameters of a shared spare; profiles with the same key share their spares. */
export function sharedKeyOf(profile: Profile): string {
  const known =
    sharedKeys.get(profile) ??
    `shared:${digestOf(profile, splitOptions(cliOptionsOf(profile)).fixed)}`;
  sharedKeys.set(profile, known);
  return known;
}

const sharedKeys = new WeakMap<Profile, string>();

export interface Launch {
  options: CliOptions;
  environment: Record<string, string>;
}

/**
 * All start parameters except the session: the flags, including the deny rules of settings.json,
 * and the variables of the profile.
 * @throws BerthError `cli_unavailable` if the file of a variable cannot be read
 */
export function launchOf(profile: Profile, overrides: Overrides, configDirectory: string): Launch {
  const options = cliOptionsOf(profile, overrides);
  const environment = {
    ...readEnvironment(profile),
    ...(profile.unprompted === 'deny' ? noSchedule : {}),
  };
  // A profile with its own rules disables all rules of settings.json, including the deny rules.
  const forbidding = options.allowRules ? readForbidding(configDirectory) : [];
  const denyRules = [...new Set([...(options.denyRules ?? []), ...forbidding])];
  return { options: { ...options, denyRules }, environment };
}

/**
 * A key of all start parameters except the session. It changes with the parts of a profile that
 * concern processes, so that a reload renews the spare processes; it does not change with other
 * parts.
 */
export function keyOf(profile: Profile, overrides: Overrides = {}): string {
  // The timeout does not concern the process.
  const { timeout: _, ...changed } = overrides;
  const key = (): string => `${profile.name}:${digestOf(profile, cliOptionsOf(profile, changed))}`;
  if (Object.keys(changed).length > 0) return key();
  const known = keys.get(profile) ?? key();
  keys.set(profile, known);
  return known;
}

/**
 * Keys of profiles without overrides are cached, because each prompt needs one; a profile object
 * never changes.
 */
const keys = new WeakMap<Profile, string>();

function digestOf(profile: Profile, options: CliOptions): string {
  const parts = {
    options,
    environment: profile.environment,
    secrets: profile.secretDigest,
    workingDirectory: profile.workingDirectory,
  };
  const digest = createHash('sha256').update(JSON.stringify(parts, sortKeys)).digest('base64url');
  return digest.slice(0, 16);
}

function sortKeys(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * The variables of the profile; files are read now, without a trailing newline.
 * @throws BerthError `cli_unavailable` that names the variable
 */
function readEnvironment(profile: Profile): Record<string, string> {
  const read: Record<string, string> = {};
  for (const name of Object.keys(profile.environment)) {
    read[name] = readVariable(profile, name) ?? '';
  }
  return read;
}

/** Literal values of variables with such names are secrets too. */
const secretName = /KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL/;

/**
 * One variable of the profile; a secret value is redacted from now on.
 * @throws BerthError `cli_unavailable` that names the variable
 */
export function readVariable(profile: Profile, name: string): string | undefined {
  const value = profile.environment[name];
  if (value === undefined) return undefined;
  const literal = typeof value === 'string';
  const read = literal ? value : readSecret(value.file, name, profile.name);
  // The path of a secret is not a secret.
  if (!literal || (secretName.test(name) && !value.startsWith('/'))) neverShow(read);
  return read;
}

/** Synchronous, like the start of a process; a mounted Secret is in memory. */
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
