/** The counter of the MCP server. Invariant: it begins at 0 for each tool and outcome. */
import { Counter, type Registry } from 'prom-client';

/** The tools, which supervisor/http/mcp defines. */
export const mcpTools = [
  ...['ask', 'start_job', 'get_job', 'list_jobs', 'cancel_job'],
  ...['list_profiles', 'list_sessions'],
] as const;

const outcomes = ['ok', 'failed', 'refused'] as const;

export interface McpMeters {
  /** Counts a call of a tool: `failed` if its prompt failed, `refused` if it did nothing. */
  mcpCalled: (tool: string, outcome: (typeof outcomes)[number]) => void;
}

export function registerMcp(registry: Registry): McpMeters {
  const calls = new Counter({
    name: 'berth_mcp_calls_total',
    help: 'Calls of tools of the MCP server, by outcome: ok, failed (the prompt failed), refused',
    labelNames: ['tool', 'outcome'],
    registers: [registry],
  });
  for (const tool of mcpTools) for (const outcome of outcomes) calls.inc({ tool, outcome }, 0);
  return { mcpCalled: (tool, outcome) => calls.inc({ tool, outcome }) };
}
