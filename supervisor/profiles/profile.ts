/**
 * A profile: a named set of what prompts may do and cost. The operator owns it, outside the volume.
 * Always holds: a profile is never changed; a reload makes new ones.
 */

/** Fields of a request that a profile can let it choose. */
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

export interface Limits {
  /** Calls of the model in one prompt. */
  maxTurns: number | undefined;
  /** US dollars for one prompt. */
  maxBudgetUsd: number | undefined;
  /** US dollars a day for all prompts with this profile. */
  dailyBudgetUsd: number | undefined;
  /** Milliseconds from acceptance to the answer. */
  timeout: number | undefined;
  /** Milliseconds without a prompt in which background work keeps its process. */
  background: number;
  /** Bytes of a worker's process tree above which it is ended at once. */
  memory: number | undefined;
}

export interface Profile {
  name: string;
  /** True for the one that berth brings itself. */
  builtIn: boolean;
  description: string | undefined;
  /** Undefined: the CLI's choice. */
  model: string | undefined;
  /** Models that a request may choose from; undefined: any. */
  models: readonly string[] | undefined;
  tools: {
    /** Permission rules, all that is allowed; undefined: what settings.json allows. */
    allow: readonly string[] | undefined;
    /** Rules that deny, besides those of settings.json. */
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
    /** Names of the servers without which no prompt is sent to the model. */
    required: readonly string[];
  };
  environment: Readonly<Record<string, EnvironmentValue>>;
  /** Of what the files of `environment` held when they were looked at last. */
  secretDigest?: string | undefined;
  limits: Limits;
  /** Whether the CLI may begin turns that nobody prompted for, but for reports of background work. */
  unprompted: 'deny' | 'allow';
  /** Processes kept ready. */
  warm: number;
  workingDirectory: 'shared' | 'session';
  /** Names of the tokens that may use it; undefined: all. */
  tokens: readonly string[] | undefined;
  overrides: readonly Overridable[];
}

/** Milliseconds: the CLI gives a command in the background 30 minutes, so this bound comes first. */
export const usualBackground = 600_000;

/** The profile that is there without a file: it adds nothing to what settings.json allows. */
export function builtInProfile(
  warm: number,
  workingDirectory: Profile['workingDirectory'] = 'shared',
): Profile {
  return {
    name: 'default',
    builtIn: true,
    description: 'What settings.json of the .claude repository allows',
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

/** MCP servers bring their own tools; the rest is built in. */
export function isMcpTool(tool: string): boolean {
  return tool.startsWith('mcp__');
}
