/**
 * Serves MCP messages with the official SDK: one server object for each request, which registers the tools and the
 * resources for the caller of that request.
 * Invariants: nothing is kept between two requests, so any replica can answer any request. Only this file and results.ts
 * load the SDK, which takes 30 MB: endpoint.ts loads them with the first request.
 */
import {
  type CallToolResult,
  createMcpHandler,
  type McpHttpHandler,
  McpServer,
  type ServerContext,
} from '@modelcontextprotocol/server';
import { asBerthError } from '../../../shared/errors.ts';
import { version } from '../../../shared/version.ts';
import type { Caller } from '../job-fields.ts';
import { toProblem } from '../problems.ts';
import { ask, cancelJob, getJob, listJobs, startJob } from './job-tools.ts';
import { listProfiles, listSessions } from './lists.ts';
import { registerResults, resultUri } from './results.ts';
import type { McpParts, Tool, ToolAnswer } from './tool.ts';

/** How a call of a tool ended: `failed` if its prompt failed, `refused` if it did nothing. */
const callOutcomes = ['ok', 'failed', 'refused'] as const;
export type CallOutcome = (typeof callOutcomes)[number];

/** In the sequence of `tools/list`. */
export const tools: readonly Tool[] = [
  ...[ask, startJob, getJob, listJobs, cancelJob],
  ...[listProfiles, listSessions],
];

/** The newest first. The newest needs no `initialize`; clients of the older ones send it. */
export const protocolVersions = ['2026-07-28', '2025-11-25', '2025-06-18'];

const instructions =
  'berth runs prompts with Claude Code on a server, with the files and the permissions there. Use ask for a question, start_job for long work. A prompt becomes a job: the job continues if this client disconnects, and list_jobs finds the job.';

const second = 1_000;

export interface HandlerParts extends McpParts {
  /** Called after each call of a tool. */
  onCall: (tool: string, outcome: CallOutcome) => void;
}

export function createHandler(parts: HandlerParts): McpHttpHandler {
  const serve = ({ authInfo }: { authInfo?: { extra?: Record<string, unknown> } }) =>
    serverFor(parts, authInfo?.extra?.caller as Caller);
  return createMcpHandler(serve, {
    // The lists never change while a client is connected, so there is nothing to subscribe to.
    maxSubscriptions: 0,
    onerror: (error) => parts.log.debug('mcp_rejected', error.message),
  });
}

function serverFor(parts: HandlerParts, caller: Caller): McpServer {
  const server = new McpServer(
    { name: 'berth', title: 'berth', version },
    {
      supportedProtocolVersions: protocolVersions,
      capabilities: { tools: { listChanged: false }, resources: { listChanged: false } },
      instructions,
    },
  );
  for (const tool of tools) {
    const { name, title, description, input, output, hints } = tool;
    server.registerTool(
      name,
      {
        ...{ title, description, inputSchema: input, outputSchema: output },
        annotations: { ...hints, openWorldHint: true },
      },
      (args, context) => call(parts, tool, args as never, caller, context),
    );
  }
  registerResults(server, parts, caller.token);
  return server;
}

async function call(
  parts: HandlerParts,
  tool: Tool,
  input: never,
  caller: Caller,
  { mcpReq }: ServerContext,
): Promise<CallToolResult> {
  const begun = performance.now();
  const { token } = caller;
  const count = (outcome: CallOutcome, code?: string): void => {
    parts.onCall(tool.name, outcome);
    const fields = { tool: tool.name, token, outcome, ...(code === undefined ? {} : { code }) };
    const duration_ms = Math.round(performance.now() - begun);
    parts.log.debug('mcp_called', 'a client called a tool', { ...fields, duration_ms });
  };
  const progressToken = mcpReq._meta?.progressToken;
  const report = async (message: string): Promise<void> => {
    if (progressToken === undefined) return;
    // The protocol wants a number that grows.
    const progress = (performance.now() - begun) / second;
    const params = { progressToken, progress, message };
    // The client may be gone: the wait ends then, by the signal.
    await mcpReq.notify({ method: 'notifications/progress', params }).catch(() => {});
  };
  try {
    const progress = progressToken === undefined ? undefined : report;
    const answer = await tool.run(parts, input, { caller, signal: mcpReq.signal, progress });
    count(answer.failed ? 'failed' : 'ok');
    return resultOf(answer);
  } catch (thrown) {
    const error = asBerthError(thrown);
    if (error.code === 'internal') {
      parts.log.error('failed', 'a tool of the MCP server failed', { error });
    }
    count('refused', error.code);
    const { code, retryable, detail, ...rest } = toProblem(error);
    const retry = retryable ? 'a retry can succeed later' : 'a retry does not help';
    return {
      isError: true,
      content: [{ type: 'text', text: `${detail} (${code}: ${retry})` }],
      _meta: { 'berth/problem': { code, retryable, detail, ...rest } },
    };
  }
}

function resultOf({ structured, text, failed, resultOf: job }: ToolAnswer): CallToolResult {
  return {
    content: [
      { type: 'text', text: text ?? JSON.stringify(structured) },
      ...(job === undefined ? [] : [linkTo(job)]),
    ],
    structuredContent: structured,
    ...(failed ? { isError: true } : {}),
  };
}

function linkTo(job: string) {
  const description = 'The result, when the job has succeeded';
  return { type: 'resource_link', uri: resultUri(job), name: job, description } as const;
}
