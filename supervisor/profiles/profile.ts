/**
 * A profile: a named set of what prompts may do and cost. The operator owns it, outside the volume.
 * Invariant: a profile object never changes; a reload creates new objects.
 */

import type { AttachmentLimits } from '../attachments/limits.ts';
import type { WorkspaceRequest } from '../workspaces/workspace-request.ts';

/** Fields of a request that a profile can allow a request to set. */
export const overridable = [
  'model',
  'append_system_prompt',
  'allowed_tools',
  'max_turns',
  'max_budget_usd',
  'output_schema',
  'timeout',
] as const;

export type Overridable = (typeof overridable)[number];

export const permissionModes = [
  'manual',
  'acceptEdits',
  'plan',
  'dontAsk',
  'auto',
  'bypassPermissions',
] as const;

/** A literal value, or the file that holds it. */
export type EnvironmentValue = string | { file: string };

/** Shares of an account's usage windows, above 0 and up to 1; absent: no bound. */
export interface QuotaShares {
  fiveHour?: number | undefined;
  sevenDay?: number | undefined;
}

export interface Limits {
  /** Calls of the model in one prompt. */
  maxTurns: number | undefined;
  /** US dollars for one prompt. */
  maxBudgetUsd: number | undefined;
  /** US dollars a day for all prompts with this profile. */
  dailyBudgetUsd: number | undefined;
  /** The used shares of the account at which prompts of this profile are refused. */
  quota: QuotaShares;
  /** The same for prompts of priority `background`, in addition to `quota`. */
  quotaBackground: QuotaShares;
  /** Prompts that one token may start in an hour. */
  promptsPerHour: number | undefined;
  /** Milliseconds from acceptance to the answer. */
  timeout: number | undefined;
  /** Milliseconds without a prompt for which background work keeps its process. */
  background: number;
  /** Bytes of a worker's process tree above which the worker is ended immediately. */
  memory: number | undefined;
}

/** What prompts may do with checkouts of repositories. */
export interface WorkspaceRules {
  /** Repositories such as `you/app`, and all of an owner, `you/*`. */
  repos: readonly string[];
  /** The checkout of a session whose first prompt names none. */
  default: WorkspaceRequest | undefined;
  /** Whether the model is given the CLAUDE.md of the repository. */
  instructions: boolean;
  /** Whether commits may be pushed. */
  publish: boolean;
  /** The author of commits that berth makes of uncommitted changes; undefined: berth. */
  author: { name: string; email: string } | undefined;
}

/** What a person must approve. */
export interface ProfileApprovals {
  /** Permission rules. */
  tools: readonly string[];
  /** Milliseconds after which a call without an answer is denied. */
  timeout: number;
  /** Names of the tokens that may decide. */
  approvers: readonly string[];
  /** Whether an approver may decide about its own prompts. */
  ownPrompts: boolean;
  /** The URL that each question is sent to. */
  webhook: string | undefined;
}

export interface Profile {
  name: string;
  /** True for the built-in profile of berth. */
  builtIn: boolean;
  description: string | undefined;
  /** Model names of other APIs that select the profile. */
  aliases: readonly string[];
  /** Undefined: the CLI's choice. */
  model: string | undefined;
  /** Models that a request may select; undefined: any. */
  models: readonly string[] | undefined;
  tools: {
    /** Permission rules, the only allowed tools; undefined: as settings.json allows. */
    allow: readonly string[] | undefined;
    /** Deny rules in addition to those of settings.json. */
    deny: readonly string[];
  };
  /** Commands and skills of the user that a prompt may begin with. */
  commands: readonly string[];
  permissionMode: (typeof permissionModes)[number] | undefined;
  systemPrompt: string | undefined;
  appendSystemPrompt: string | undefined;
  mcp: {
    servers: Readonly<Record<string, unknown>>;
    strict: boolean;
    /** Names of MCP servers that must be connected before a prompt is sent. */
    required: readonly string[];
  };
  environment: Readonly<Record<string, EnvironmentValue>>;
  /** The digest of the files of `environment` when they were last read. */
  secretDigest?: string | undefined;
  limits: Limits;
  /** Whether the CLI may begin turns without a prompt, except reports of background work. */
  unprompted: 'deny' | 'allow';
  /** Processes kept ready. */
  warm: number;
  workingDirectory: 'shared' | 'session';
  /** Names of the tokens that may use the profile; undefined: all. */
  tokens: readonly string[] | undefined;
  overrides: readonly Overridable[];
  /** Absent: prompts get no checkout. */
  workspaces?: WorkspaceRules;
  /** Absent: no call needs an approval. */
  approvals?: ProfileApprovals;
  /** Limits of attachments, below those of the settings; absent: those of the settings. */
  attachments?: Partial<AttachmentLimits>;
}

/** Milliseconds: the CLI allows a background command 30 minutes, so this limit is reached first. */
export const usualBackground = 600_000;

/** The profile that exists without a file: it adds nothing to the permissions of settings.json. */
export function builtInProfile(
  warm: number,
  workingDirectory: Profile['workingDirectory'] = 'shared',
): Profile {
  return {
    name: 'default',
    builtIn: true,
    description: 'What settings.json of the .claude repository allows',
    aliases: [],
    model: undefined,
    models: undefined,
    tools: { allow: undefined, deny: [] },
    commands: [],
    permissionMode: undefined,
    systemPrompt: undefined,
    appendSystemPrompt: undefined,
    mcp: { servers: {}, strict: false, required: [] },
    environment: {},
    limits: {
      maxTurns: undefined,
      maxBudgetUsd: undefined,
      dailyBudgetUsd: undefined,
      quota: {},
      quotaBackground: {},
      promptsPerHour: undefined,
      timeout: undefined,
      background: usualBackground,
      memory: undefined,
    },
    unprompted: 'deny',
    warm,
    workingDirectory,
    tokens: undefined,
    overrides: overridable,
  };
}

/** The tool of a permission rule: `Bash` of `Bash(git diff:*)`. */
export function toolOf(rule: string): string {
  return rule.split('(', 1)[0] ?? rule;
}

/** MCP servers provide their own tools; all other tools are built in. */
export function isMcpTool(tool: string): boolean {
  return tool.startsWith('mcp__');
}
