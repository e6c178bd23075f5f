/**
 * The CLI's own variables, and the variables of the container that the CLI does not get, with the
 * reason.
 * Invariant: no name of the list holds a secret, names a file that is executed, or loads code.
 *
 * The list is from Anthropic's pages "Environment variables" and "Monitoring"
 * (code.claude.com/docs/en/ env-vars and monitoring-usage, as of August 2026), without the prefixes
 * that environment.ts passes as a whole. ALL_PROXY is not on these pages, but the CLI reads it. A
 * test searches for each name in the CLI.
 */
import type { Environment } from '../../shared/config.ts';
import { nearest } from '../../shared/nearest.ts';

export const cliVariables: readonly string[] = [
  'ALL_PROXY',
  'API_FORCE_IDLE_TIMEOUT',
  'API_TIMEOUT_MS',
  'BASH_DEFAULT_TIMEOUT_MS',
  'BASH_MAX_OUTPUT_LENGTH',
  'BASH_MAX_TIMEOUT_MS',
  'BETA_TRACING_ENDPOINT',
  'CLAUDE_AGENT_SDK_DISABLE_BUILTIN_AGENTS',
  'CLAUDE_ASYNC_AGENT_STALL_TIMEOUT_MS',
  'CLAUDE_AUTOCOMPACT_PCT_OVERRIDE',
  'CLAUDE_AUTO_BACKGROUND_TASKS',
  'CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR',
  'CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS',
  'CLAUDE_ENABLE_BYTE_WATCHDOG',
  'CLAUDE_ENABLE_BYTE_WATCHDOG_BEDROCK',
  'CLAUDE_ENABLE_STREAM_WATCHDOG',
  'CLAUDE_STREAM_IDLE_TIMEOUT_MS',
  'DISABLE_AUTO_COMPACT',
  'DISABLE_BUG_COMMAND',
  'DISABLE_COMPACT',
  'DISABLE_COST_WARNINGS',
  'DISABLE_DOCTOR_COMMAND',
  'DISABLE_EXTRA_USAGE_COMMAND',
  'DISABLE_FEEDBACK_COMMAND',
  'DISABLE_GROWTHBOOK',
  'DISABLE_INSTALLATION_CHECKS',
  'DISABLE_INSTALL_GITHUB_APP_COMMAND',
  'DISABLE_INTERLEAVED_THINKING',
  'DISABLE_LOGIN_COMMAND',
  'DISABLE_LOGOUT_COMMAND',
  'DISABLE_PROMPT_CACHING',
  'DISABLE_PROMPT_CACHING_FABLE',
  'DISABLE_PROMPT_CACHING_HAIKU',
  'DISABLE_PROMPT_CACHING_OPUS',
  'DISABLE_PROMPT_CACHING_SONNET',
  'DISABLE_UPDATES',
  'DISABLE_UPGRADE_COMMAND',
  'DO_NOT_TRACK',
  'ENABLE_BETA_TRACING_DETAILED',
  'ENABLE_CLAUDEAI_MCP_SERVERS',
  'ENABLE_ENHANCED_TELEMETRY_BETA',
  'ENABLE_PROMPT_CACHING_1H',
  'ENABLE_PROMPT_CACHING_1H_BEDROCK',
  'ENABLE_TOOL_SEARCH',
  'FALLBACK_FOR_ALL_PRIMARY_MODELS',
  'FORCE_AUTOUPDATE_PLUGINS',
  'FORCE_PROMPT_CACHING_5M',
  'MAX_MCP_OUTPUT_TOKENS',
  'MAX_STRUCTURED_OUTPUT_RETRIES',
  'MAX_THINKING_TOKENS',
  'MCP_CONNECTION_NONBLOCKING',
  'MCP_CONNECT_TIMEOUT_MS',
  'MCP_DISCOVERY_CACHE',
  'MCP_DISCOVERY_CACHE_MAX_STALE_S',
  'MCP_DISCOVERY_CACHE_STRIKES',
  'MCP_DISCOVERY_CACHE_TTL_S',
  'MCP_PROTOCOL_NEGOTIATION',
  'MCP_REMOTE_SERVER_CONNECTION_BATCH_SIZE',
  'MCP_SDK_GENERATION',
  'MCP_SERVER_CONNECTION_BATCH_SIZE',
  'MCP_TIMEOUT',
  'MCP_TOOL_TIMEOUT',
  'SLASH_COMMAND_TOOL_CHAR_BUDGET',
  'TASK_MAX_OUTPUT_LENGTH',
  'USE_BUILTIN_RIPGREP',
  'all_proxy',
];

/** Variables that Anthropic documents and berth leaves out on purpose. */
const leftOut: Readonly<Record<string, string>> = {
  MCP_CLIENT_SECRET:
    'it is a secret that every tool could read; a profile that needs it can set it (environment)',
  CLAUDE_ENV_FILE:
    'the script that it names would run before each command; a profile can set it (environment)',
  DISABLE_AUTOUPDATER: 'berth always sets it to 1',
  DISABLE_ERROR_REPORTING: 'berth always sets it to 1',
  DISABLE_TELEMETRY: 'berth always sets it to 1; OpenTelemetry (OTEL_*) still works',
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: 'berth always sets it to 1',
};

/** Only for a person at a terminal; a service has no terminal. */
const interactive =
  /^(CLAUDE_(AFK|AX|CLIENT_PRESENCE|DISABLE_ADOPT|REMOTE_CONTROL)|CCR_FORCE_BUNDLE$|IS_DEMO$|FORCE_HYPERLINK$|MCP_OAUTH_CALLBACK_PORT$)/;

/** The CLI sets these in its child processes, and the image sets its directory. */
const ofTheCli = ['CLAUDECODE', 'CLAUDE_CONFIG_DIR', 'CLAUDE_EFFORT', 'CLAUDE_PID'];

/** Variables that Kubernetes injects for a Service called `claude` or `mcp-github`. */
const injected = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)$/;

/** Names of the CLI, and families of names in which a name can be misspelt. */
const own = /^(CLAUDE|MCP)_/;
const family = /^(API|BASH|DISABLE|ENABLE|FORCE|MAX|SLASH|TASK)_/;

export interface IgnoredVariable {
  name: string;
  /** Completes the sentence "NAME is not passed to the CLI: ...". */
  reason: string;
}

/**
 * The variables that look like settings of the CLI and do not reach it.
 * @param isPassed whether a variable is passed to the CLI
 */
export function ignoredVariables(
  inherited: Environment,
  isPassed: (name: string) => boolean,
): IgnoredVariable[] {
  return Object.entries(inherited).flatMap(([name, value]) => {
    if (!value || isPassed(name) || ofTheCli.includes(name) || injected.test(name)) return [];
    const reason = reasonOf(name, value);
    return reason === undefined ? [] : [{ name, reason }];
  });
}

function reasonOf(name: string, value: string): string | undefined {
  const known = leftOut[name];
  if (known !== undefined) return known.includes('always') && value === '1' ? undefined : known;
  if (interactive.test(name)) return 'it is for a person at a terminal';
  const near = nearest(name, cliVariables);
  if (!own.test(name) && !(family.test(name) && near)) return undefined;
  const meant = near ? `did you mean ${near}? A` : 'a';
  return `it is unknown to berth; ${meant} profile can still set it (environment)`;
}
