/**
 * The handler of `POST /mcp`: the Streamable HTTP transport of the Model Context Protocol, without sessions.
 * Invariants: a request of a web page is refused unless the operator allowed its origin. A batch is refused: MCP has none
 * since 2025-06-18. The SDK gets neither the token nor the cookies of the request.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { callerGone } from '../caller-gone.ts';
import type { Caller } from '../job-fields.ts';
import type { HandlerParts } from './handler.ts';

export interface McpOptions extends HandlerParts {
  /** Host names of web pages that may call. */
  origins: readonly string[];
  /** Host names under which clients may call; empty: any. */
  hosts: readonly string[];
}

/** The SDK checks the message, and answers a wrong one in the protocol. */
export const mcpMessageSchema = z
  .unknown()
  .describe('A JSON-RPC message of the Model Context Protocol');

export const mcpAnswerSchema = z
  .looseObject({
    jsonrpc: z.literal('2.0'),
    id: z.union([z.string(), z.number()]).nullable(),
    result: z.looseObject({}).optional(),
    error: z.looseObject({ code: z.number(), message: z.string() }).optional(),
  })
  .describe('The JSON-RPC answer; as a stream, after notifications of progress');

/** Headers that the SDK may not see, or that belong to the connection. */
const keptBack = new Set([
  ...['authorization', 'cookie', 'host', 'connection', 'content-length', 'transfer-encoding'],
  ...['keep-alive', 'upgrade', 'expect', 'te', 'trailer', 'proxy-authorization'],
]);

type Check = (request: FastifyRequest, reply: FastifyReply) => Promise<void>;

interface Loaded {
  handler: ReturnType<typeof import('./handler.ts').createHandler>;
  checks: Check[];
}

export class McpEndpoint {
  readonly #options: McpOptions;
  #loaded: Promise<Loaded> | undefined;

  constructor(options: McpOptions) {
    this.#options = options;
  }

  async handle(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    this.#loaded ??= load(this.#options);
    const { handler, checks } = await this.#loaded;
    for (const check of checks) {
      await check(request, reply);
      if (reply.sent) {
        const { origin, host } = request.headers;
        const text = 'refused a request to /mcp because of its Origin or Host';
        this.#options.log.warn('mcp_refused', text, { token: request.token, origin, host });
        return reply;
      }
    }
    if (Array.isArray(request.body)) return refuseBatch(reply);
    const { token, tokenId, headers } = request;
    const { traceparent } = headers;
    const caller: Caller = { token, tokenId, headers: { traceparent } };
    const response = await handler.fetch(webRequest(request, callerGone(reply)), {
      parsedBody: request.body,
      authInfo: { token: '', clientId: token, scopes: [], extra: { caller } },
    });
    return reply.send(response);
  }
}

async function load(options: McpOptions): Promise<Loaded> {
  const [{ createHandler }, { originValidation, hostHeaderValidation }] = await Promise.all([
    import('./handler.ts'),
    import('@modelcontextprotocol/fastify'),
  ]);
  const { origins, hosts } = options;
  return {
    handler: createHandler(options),
    checks: [
      originValidation([...origins]),
      ...(hosts.length > 0 ? [hostHeaderValidation([...hosts])] : []),
    ],
  };
}

/** The request without its body, which fastify has read. */
function webRequest({ method, headers }: FastifyRequest, signal: AbortSignal): Request {
  const kept = Object.entries(headers)
    .filter(([name, value]) => value !== undefined && !keptBack.has(name))
    .map(([name, value]): [string, string] => [name, String(value)]);
  return new Request('http://berth/mcp', { method, headers: kept, signal });
}

function refuseBatch(reply: FastifyReply): FastifyReply {
  const message =
    'cannot read the request: it is a batch, which MCP has no more; send each message in a request of its own';
  const body = { jsonrpc: '2.0', id: null, error: { code: -32_600, message } };
  return reply
    .code(400)
    .type('application/json; charset=utf-8')
    .serializer((it: unknown) => JSON.stringify(it))
    .send(body);
}
