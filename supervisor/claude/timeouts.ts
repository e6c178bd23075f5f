/**
 * How long a CLI process may be silent, as its own variables say: berth's patience with it follows them.
 * Always holds: a time that is not set, or that the CLI would not understand either, changes nothing.
 */

/** Milliseconds. */
export interface CliTimeouts {
  /** A tool may run so long; undefined if only the CLI's default bounds it. */
  tool: number | undefined;
  /** The model may be silent so long. */
  model: number | undefined;
  /** MCP servers may take so long to start: the first turn waits for them. */
  start: number | undefined;
}

/** The CLI too takes the greater of the two of Bash. */
const toolNames = ['BASH_MAX_TIMEOUT_MS', 'BASH_DEFAULT_TIMEOUT_MS', 'MCP_TOOL_TIMEOUT'];
const modelNames = [
  'API_TIMEOUT_MS',
  'CLAUDE_STREAM_IDLE_TIMEOUT_MS',
  'CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS',
];
const startNames = ['MCP_TIMEOUT', 'MCP_CONNECT_TIMEOUT_MS'];

/** A day: timers overflow at 24 days, and what is added to it must not. */
const day = 24 * 3_600_000;

/**
 * @param environment of the process
 * @param mcpServers that it is started with; each may have a `timeout` of its own
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

/** The CLI understands `2e3` and `64_000` too. */
function milliseconds(text: string | undefined): number | undefined {
  const value = Number((text ?? '').trim().replaceAll('_', '') || Number.NaN);
  return value > 0 ? Math.min(value, day) : undefined;
}

function longest(times: readonly (number | undefined)[]): number | undefined {
  const given = times.filter((time) => time !== undefined);
  return given.length > 0 ? Math.max(...given) : undefined;
}
