/**
 * Parses the profiles file: returns the profiles, or every problem with its path and line.
 * Invariants: a file with a problem returns no profile. No problem quotes a value of the file.
 */
import { type Document, LineCounter, parseDocument } from 'yaml';
import { BerthError, messageOf } from '../../shared/errors.ts';
import { nearest } from '../../shared/nearest.ts';
import { isListed } from '../workspaces/repository-list.ts';
import { type Path, type Problem, problemsOf, sentencesOf } from './problems.ts';
import {
  builtInProfile,
  type Profile,
  type ProfileApprovals,
  type QuotaShares,
  usualBackground,
  type WorkspaceRules,
} from './profile.ts';
import {
  fileSchema,
  type ProfileDocument,
  type ProfilesDocument,
  type QuotaDocument,
} from './schema.ts';

/** Bytes; a ConfigMap holds 1 MiB at most. */
export const largestFile = 1024 * 1024;

export interface TokenSettings {
  defaultProfile: string | undefined;
  /** US dollars. */
  dailyBudgetUsd: number | undefined;
  admin: boolean;
}

/** The content of a profiles file. */
export interface ProfileSet {
  profiles: ReadonlyMap<string, Profile>;
  /** The profile for requests that name no profile and whose token has no default. */
  defaultProfile: string;
  tokens: ReadonlyMap<string, TokenSettings>;
  /** US dollars for all prompts. */
  dailyBudgetUsd: number | undefined;
  /** Sentences about parts of the file that have no effect any more. */
  warnings: readonly string[];
}

/** The limits from the settings. */
export interface Bounds {
  /** Spare processes of the built-in profile. */
  warmWorkers: number;
  /** Of the built-in profile. */
  workingDirectory?: Profile['workingDirectory'];
  maxWorkers: number;
}

export function withoutFile({ warmWorkers, workingDirectory }: Bounds): ProfileSet {
  return {
    profiles: new Map([['default', builtInProfile(warmWorkers, workingDirectory)]]),
    defaultProfile: 'default',
    tokens: new Map(),
    dailyBudgetUsd: undefined,
    warnings: [],
  };
}

/**
 * @param path only for the message
 * @throws BerthError `config_invalid` that lists every problem, one on each line
 */
export function readProfiles(text: string, path: string, bounds: Bounds): ProfileSet {
  const lines = new LineCounter();
  const { document, problems: syntax } = parse(text, lines);
  if (!document) throw invalid(path, [...new Set(syntax)]);
  const value = plainValueOf(document);
  if (typeof value === 'string') throw invalid(path, [value]);
  const parsed = fileSchema.safeParse(value.content);
  const problems = parsed.success ? [] : problemsOf(parsed.error);
  const set = parsed.success ? toSet(parsed.data, bounds) : undefined;
  problems.push(...(set ? crossChecks(set, bounds) : []));
  if (set && problems.length === 0) return set;
  throw invalid(path, sentencesOf(problems, document, lines));
}

function parse(text: string, lineCounter: LineCounter) {
  try {
    const document = parseDocument(text, { lineCounter, prettyErrors: false, merge: true });
    const problems = [...document.errors, ...document.warnings].map(
      ({ pos, message }) => `line ${lineCounter.linePos(pos[0]).line}: ${message}`,
    );
    return problems.length > 0 ? { document: undefined, problems } : { document, problems };
  } catch (error) {
    // For example a document that is nested too deeply.
    return { document: undefined, problems: [`line 1: ${messageOf(error)}`] };
  }
}

/** The plain value, or why there is none, for example aliases that would expand without limit. */
function plainValueOf(document: Document): { content: unknown } | string {
  try {
    return { content: document.toJS({ maxAliasCount: 100 }) ?? {} };
  } catch (error) {
    return `line 1: ${messageOf(error)}`;
  }
}

function invalid(path: string, problems: readonly string[]): BerthError {
  const list = problems.slice(0, 50).map((line) => `  - ${line}`);
  if (problems.length > list.length) list.push(`  - and ${problems.length - list.length} more`);
  return new BerthError(
    'config_invalid',
    `cannot use the profiles in ${path}: ${problems.length} problem${problems.length === 1 ? '' : 's'}; correct the file (docs/profiles.md):\n${list.join('\n')}`,
    { details: { problems } },
  );
}

function toSet(document: ProfilesDocument, bounds: Bounds): ProfileSet {
  const named = Object.entries(document.profiles).map(
    ([name, each]) => [name, toProfile(name, each, document.quota_background)] as const,
  );
  const profiles = new Map(named);
  const defaultProfile = document.default ?? 'default';
  // A file that names another default decides that the built-in profile does not exist.
  if (defaultProfile === 'default' && !profiles.has('default')) {
    const builtIn = builtInProfile(bounds.warmWorkers, bounds.workingDirectory);
    const limits = { ...builtIn.limits, quotaBackground: toShares(document.quota_background) };
    profiles.set('default', { ...builtIn, limits });
  }
  const tokens = Object.entries(document.tokens ?? {}).map(
    ([name, { default_profile, daily_budget_usd, admin }]) =>
      [
        name,
        {
          defaultProfile: default_profile,
          dailyBudgetUsd: daily_budget_usd,
          admin: admin ?? false,
        },
      ] as const,
  );
  return {
    profiles,
    defaultProfile,
    tokens: new Map(tokens),
    dailyBudgetUsd: document.daily_budget_usd,
    warnings: retiredIn(document),
  };
}

/** A file that was valid in the past is still accepted. */
function retiredIn({ profiles }: ProfilesDocument): string[] {
  return Object.entries(profiles).flatMap(([name, { isolation }]) =>
    isolation === 'conversation'
      ? [
          `profiles.${name}.isolation: the value conversation was removed and is treated as process: each session has its own process; remove the line (docs/profiles.md)`,
        ]
      : [],
  );
}

function toProfile(name: string, document: ProfileDocument, background?: QuotaDocument): Profile {
  const { limits, tools, mcp } = document;
  return {
    name,
    builtIn: false,
    description: document.description,
    aliases: document.aliases ?? [],
    model: document.model,
    models: document.models,
    tools: { allow: tools?.allow, deny: tools?.deny ?? [] },
    commands: document.commands ?? [],
    permissionMode: document.permission_mode,
    systemPrompt: document.system_prompt,
    appendSystemPrompt: document.append_system_prompt,
    mcp: {
      servers: mcp?.servers ?? {},
      strict: mcp?.strict ?? false,
      required: mcp?.required ?? [],
    },
    environment: document.environment ?? {},
    limits: {
      maxTurns: limits?.max_turns,
      maxBudgetUsd: limits?.max_budget_usd,
      dailyBudgetUsd: limits?.daily_budget_usd,
      quota: toShares(limits?.quota),
      quotaBackground: toShares(limits?.quota_background ?? background),
      promptsPerHour: limits?.prompts_per_hour,
      timeout: limits?.timeout,
      background: limits?.background ?? usualBackground,
      memory: limits?.memory,
    },
    unprompted: document.unprompted ?? 'deny',
    warm: document.warm ?? 0,
    workingDirectory: document.workspaces ? 'session' : (document.working_directory ?? 'shared'),
    tokens: document.tokens,
    overrides: document.overrides ?? [],
    ...(document.workspaces && { workspaces: toWorkspaces(document.workspaces) }),
    ...(document.approvals && { approvals: toApprovals(document.approvals) }),
    ...(document.attachments && { attachments: toAttachments(document.attachments) }),
  };
}

function toWorkspaces(document: NonNullable<ProfileDocument['workspaces']>): WorkspaceRules {
  const { repos, default: usual, instructions = false, publish = false, author } = document;
  return { repos, default: usual, instructions, publish, author };
}

/** Milliseconds for an answer without a limit of the profile. */
const usualTimeout = 30 * 60_000;

function toApprovals(document: NonNullable<ProfileDocument['approvals']>): ProfileApprovals {
  return {
    tools: document.tools,
    timeout: document.timeout ?? usualTimeout,
    approvers: document.approvers ?? [],
    ownPrompts: document.own_prompts ?? false,
    webhook: document.webhook,
  };
}

/** In these modes the CLI asks nothing, or decides in another way. */
const silentModes: readonly (string | undefined)[] = [
  'dontAsk',
  'plan',
  'auto',
  'bypassPermissions',
];

function approvalProblems({ name, approvals, permissionMode }: Profile): Problem[] {
  if (!approvals) return [];
  const undecidable = approvals.approvers.length === 0 && approvals.webhook === undefined;
  return [
    ...(undecidable
      ? [
          {
            path: ['profiles', name, 'approvals'],
            text: 'nobody could decide; add approvers, or a webhook',
          },
        ]
      : []),
    ...(silentModes.includes(permissionMode)
      ? [
          {
            path: ['profiles', name, 'permission_mode'],
            text: 'with approvals only manual and acceptEdits are possible, since the CLI asks nobody in other modes; remove the line',
          },
        ]
      : []),
  ];
}

function toAttachments({
  max_files: files,
  max_size: bytes,
}: NonNullable<ProfileDocument['attachments']>): Profile['attachments'] {
  return { ...(files === undefined ? {} : { files }), ...(bytes === undefined ? {} : { bytes }) };
}

function toShares(document: QuotaDocument | undefined): QuotaShares {
  return { fiveHour: document?.five_hour, sevenDay: document?.seven_day };
}

/** Problems between parts that are valid separately. */
function crossChecks(set: ProfileSet, bounds: Bounds): Problem[] {
  const names = [...set.profiles.keys()];
  const unknown = (path: Path, name: string): Problem => {
    const near = nearest(name, names);
    return {
      path,
      text: `the profile does not exist; ${near ? `did you mean ${near}?` : `known are ${names.join(', ')}`}`,
    };
  };
  const problems: Problem[] = [...set.profiles.values()].flatMap(approvalProblems);
  if (!set.profiles.has(set.defaultProfile)) {
    problems.push(unknown(['default'], set.defaultProfile));
  }
  for (const [token, { defaultProfile }] of set.tokens) {
    if (defaultProfile === undefined) continue;
    const path = ['tokens', token, 'default_profile'];
    const profile = set.profiles.get(defaultProfile);
    if (!profile) problems.push(unknown(path, defaultProfile));
    else if (profile.tokens && !profile.tokens.includes(token)) {
      const text = `the token may not use it; add the token to profiles.${defaultProfile}.tokens`;
      problems.push({ path, text });
    }
  }
  problems.push(...aliasProblems(set));
  for (const [name, { workspaces }] of set.profiles) {
    const repo = workspaces?.default?.repo;
    if (!workspaces || repo === undefined || isListed(repo, workspaces.repos)) continue;
    const path = ['profiles', name, 'workspaces', 'default', 'repo'];
    problems.push({
      path,
      text: `the repository is not in profiles.${name}.workspaces.repos; add it`,
    });
  }
  const warm = [...set.profiles.values()].reduce((sum, profile) => sum + profile.warm, 0);
  if (warm > bounds.maxWorkers) {
    const text = `together they keep ${warm} workers warm, above BERTH_MAX_WORKERS (${bounds.maxWorkers}); lower warm (of the built-in profile, BERTH_WARM_WORKERS) or raise it`;
    problems.push({ path: ['profiles'], text });
  }
  return problems;
}

/** An alias selects one profile. */
function aliasProblems({ profiles }: ProfileSet): Problem[] {
  const owners = new Map<string, string>();
  return [...profiles].flatMap(([name, { aliases }]) =>
    aliases.flatMap((alias, index) => {
      const owner = owners.get(alias);
      owners.set(alias, name);
      if (owner === undefined) return [];
      const text = `profiles.${owner} has this alias already; remove it from one of them`;
      return [{ path: ['profiles', name, 'aliases', index], text }];
    }),
  );
}
