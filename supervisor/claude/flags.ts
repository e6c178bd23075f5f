/** The flags of a worker of the CLI. */

/** With a fork: the id of the last message to copy. */
export const forkFlag = 'resume-session-at';

/** The parameters of a process: a profile, the overrides of a request, and the session. */
export interface CliOptions {
  /** The session to continue; absent starts a new session. */
  resume?: string | undefined;
  /** With `resume`: start a new session with the history of the resumed session. */
  fork?: boolean;
  /** With `fork`: the id of the last message to copy (seen with the CLI 2.1.330; not in its help). */
  forkAt?: string | undefined;
  /** The id of the new session, of this process or of the fork. */
  sessionId?: string | undefined;
  /** Days after which the CLI removes unused transcripts. */
  cleanupPeriodDays?: number | undefined;
  model?: string | undefined;
  permissionMode?: string | undefined;
  /** Replaces the CLI's own system prompt. */
  systemPrompt?: string | undefined;
  appendSystemPrompt?: string | undefined;
  /** With `resume`: use these instructions, not those with which the session began. */
  freshInstructions?: boolean;
  /** The available built-in tools; absent means all. */
  availableTools?: readonly string[] | undefined;
  /**
   * The only rules that allow tools, instead of those of settings.json; absent keeps those of
   * settings.json.
   */
  allowRules?: readonly string[] | undefined;
  /** Calls that match one of these rules need an approval: see permission.ts. */
  askRules?: readonly string[] | undefined;
  /** No hook of the configuration directory runs: of settings, skills, agents or plugins. */
  noHooks?: boolean;
  /** Deny rules in addition to those of settings.json. */
  denyRules?: readonly string[];
  mcpServers?: Readonly<Record<string, unknown>>;
  /** Only these MCP servers, and none of the configuration directory. */
  strictMcp?: boolean;
  /** The maximum number of model calls in one prompt. */
  maxTurns?: number | undefined;
  /** The US dollars that the process may spend since its start or its last `/clear`. */
  maxBudgetUsd?: number | undefined;
  /** A JSON Schema; each answer then has `structured_output`. */
  outputSchema?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * The flags of a worker. All parameters reach the CLI by flags and never by files, because programs
 * that the CLI runs can write files on the volume. Values follow an equals sign, so that no value
 * is parsed as a flag.
 */
export function cliArguments(options: CliOptions = {}): string[] {
  const { resume, fork, availableTools, denyRules = [], mcpServers = {} } = options;
  const flag = (name: string, value: string | number | undefined): string[] =>
    value === undefined ? [] : [`--${name}=${value}`];
  return [
    '-p',
    '--input-format=stream-json',
    '--output-format=stream-json',
    '--verbose',
    '--include-partial-messages',
    '--include-hook-events',
    // Settings, hooks and MCP servers found in a working directory are not trusted.
    '--setting-sources=user',
    ...(resume === undefined ? [] : ['--resume', resume]),
    ...(resume !== undefined && fork ? ['--fork-session'] : []),
    ...(resume !== undefined && fork ? flag(forkFlag, options.forkAt) : []),
    ...flag('session-id', options.sessionId),
    ...flag('settings', settingsOf(options)),
    ...flag('model', options.model),
    ...flag('permission-mode', options.permissionMode),
    ...flag('system-prompt', options.systemPrompt),
    ...flag('append-system-prompt', options.appendSystemPrompt),
    // The CLI keeps the instructions of a session's first turn and ignores later instructions.
    ...(resume !== undefined && options.freshInstructions ? ['--system-prompt-snapshot=off'] : []),
    ...flag('tools', availableTools?.join(',')),
    ...flag('managed-settings', managedSettings(options)),
    ...flag('permission-prompt-tool', options.askRules && 'stdio'),
    ...denyRules.map((rule) => `--disallowedTools=${rule}`),
    ...(Object.keys(mcpServers).length > 0
      ? [`--mcp-config=${JSON.stringify({ mcpServers })}`]
      : []),
    ...(options.strictMcp ? ['--strict-mcp-config'] : []),
    ...flag('max-turns', options.maxTurns),
    ...flag('max-budget-usd', options.maxBudgetUsd),
    ...flag('json-schema', options.outputSchema && JSON.stringify(options.outputSchema)),
  ];
}

function settingsOf({ cleanupPeriodDays }: CliOptions): string | undefined {
  return cleanupPeriodDays === undefined ? undefined : JSON.stringify({ cleanupPeriodDays });
}

/**
 * Settings that files on the volume cannot override. `--allowedTools` would only add to the rules
 * of settings.json. From managed settings in a flag, the CLI (2.1.330) accepts rules and no hooks.
 */
function managedSettings({
  allowRules: allow,
  askRules: ask,
  noHooks,
}: CliOptions): string | undefined {
  const settings = {
    ...(allow && { allowManagedPermissionRulesOnly: true }),
    ...((allow || ask) && { permissions: { ...(allow && { allow }), ...(ask && { ask }) } }),
    ...(noHooks && { allowManagedHooksOnly: true }),
  };
  return Object.keys(settings).length > 0 ? JSON.stringify(settings) : undefined;
}
