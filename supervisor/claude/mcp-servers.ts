/**
 * Checks the MCP servers of a CLI process: why a server is not connected, and whether the required
 * servers are connected.
 * Invariant: no wait is longer than its bound.
 */

import { BerthError } from '../../shared/errors.ts';
import { abortable, sleep, within } from '../../shared/waiting.ts';
import { type McpServer, readMcpStatus } from './cli-health.ts';
import type { ClaudeProcess } from './process.ts';

/** Milliseconds for the answer to a control request. */
const patience = 2_000;
/** Milliseconds for servers that are not connected yet; the CLI itself gives them 30 s. */
const connecting = 15_000;
const pause = 200;

/** Requests the state of the servers and records it in the health of the process. Never rejects. */
export async function queryServers(process: ClaudeProcess): Promise<void> {
  try {
    const answer = await within(process.control({ subtype: 'mcp_status' }), patience);
    if (answer !== undefined) process.health.serversAre(readMcpStatus(answer));
  } catch {
    // The process has ended or does not answer: the known state stays.
  }
}

/**
 * Resolves when the process is connected to each of these servers. A server without a connection is
 * reconnected once.
 * @throws BerthError `mcp_unavailable`; `cli_unavailable` if the process has ended; the signal's reason
 */
export async function requireServers(
  process: ClaudeProcess,
  required: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  if (required.length === 0) return;
  const deadline = performance.now() + connecting;
  const tried = new Set<string>();
  for (;;) {
    await abortable(queryServers(process), signal);
    if (!process.alive) throw ended();
    const missing = required
      .map((name) => process.health.server(name) ?? unknown(name))
      .filter(({ status }) => status !== 'connected');
    if (missing.length === 0) return;
    const hopeless = missing.filter(({ name, status }) => status !== 'pending' && tried.has(name));
    const left = deadline - performance.now();
    if (hopeless.length > 0 || left <= 0) throw unavailable(missing);
    const again = missing.filter(({ status }) => status !== 'pending');
    for (const { name } of again) tried.add(name);
    const reconnected = again.map(({ name }) => reconnect(process, name, left));
    await abortable(Promise.all(reconnected), signal);
    await sleep(pause, signal);
  }
}

function unknown(name: string): McpServer {
  return { name, status: 'not configured', error: undefined };
}

/** Never rejects. */
async function reconnect(process: ClaudeProcess, name: string, left: number): Promise<void> {
  const asked = process.control({ subtype: 'mcp_reconnect', serverName: name });
  await within(asked, left).catch(() => undefined);
}

function ended(): BerthError {
  return new BerthError(
    'cli_unavailable',
    'cannot check the MCP servers: the CLI process has ended; try again',
  );
}

function unavailable(missing: readonly McpServer[]): BerthError {
  const which = missing.map(({ name, status, error }) => `${name} (${error ?? status})`);
  return new BerthError(
    'mcp_unavailable',
    `cannot answer the prompt: the profile requires MCP servers that are not connected: ${which.join(', ')}; see mcp.required of the profile, and retry when the servers are available`,
    {
      details: {
        mcp_servers: missing.map(({ name, status, error }) => ({
          name,
          status,
          ...(error === undefined ? {} : { error }),
        })),
        retry_after: 10,
      },
    },
  );
}
