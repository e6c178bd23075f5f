/**
 * Determines how long a CLI process may be silent, by its own variables; berth's timeouts follow
 * them.
 * Invariant: an unset value, or a value that the CLI cannot parse, changes nothing.
 */

/** Milliseconds. */
export interface CliTimeouts {
  /** The longest time of a tool; undefined if only the CLI's default limits it. */
  tool: number | undefined;
  /** The longest silence of the model. */
  model: number | undefined;
  /** The longest start of MCP servers: the first turn waits for them. */
  start: number | undefined;
}

/** The CLI also takes the greater of the two values for Bash. */
const toolNames = ['BASH_MAX_TIMEOUT_MS', 'BASH_DEFAULT_TIMEOUT_MS', 'MCP_TOOL_TIMEOUT'];
const modelNames = [
  'API_TIMEOUT_MS',
  'CLAUDE_STREAM_IDLE_TIMEOUT_MS',
  'CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS',
];
const startNames = ['MCP_TIMEOUT', 'MCP_CONNECT_TIMEOUT_MS'];

/** A day: timers overflow at 24 days, and sums with this value must not overflow. */
const day = 24 * 3_600_000;

/**
 * @param environment of the process
 * @param mcpServers of the process; each may have its own `timeout`
 */
export function timeoutsOf(
  environment: Readonly<Record<string, string>>,
  mcpServers: Readonly<Record<string, unknown>> = {},
): CliTimeouts {
  const of = (name: string): number | undefined => milliseconds(environment[name]);
  const ofServers = Object.values(mcpServers).map((server) => {
    const { timeout } = (server ?? {}) as { timeout?: unknown };
    return typeof timeout === 'number' ? milliseconds(String(timeout)) : undefined;
  });
  return {
    tool: longest([...toolNames.map(of), ...ofServers]),
    model: longest(modelNames.map(of)),
    start: longest(startNames.map(of)),
  };
}

/** The CLI parses `2e3` and `64_000` too. */
function milliseconds(text: string | undefined): number | undefined {
  const value = Number((text ?? '').trim().replaceAll('_', '') || Number.NaN);
  return value > 0 ? Math.min(value, day) : undefined;
}

function longest(times: readonly (number | undefined)[]): number | undefined {
  const given = times.filter((time) => time !== undefined);
  return given.length > 0 ? Math.max(...given) : undefined;
}
