/**
 * The API server: authentication, errors and the routes.
 * Always holds: no route but the description of the API answers without a valid token, and every
 * error is a problem with a code.
 */
import type { Socket } from 'node:net';
import swagger from '@fastify/swagger';
import { type FastifyInstance, type FastifyRequest, fastify } from 'fastify';
import {
  createJsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
} from 'fastify-type-provider-zod';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { version } from '../../shared/version.ts';
import type { SessionCatalog } from '../sessions/catalog.ts';
import { fromThrown, sendProblem, toProblem } from './problems.ts';
import { type PromptRoutesOptions, promptRoutes } from './prompts.ts';
import { sessionRoutes } from './sessions.ts';
import { type StatusSource, statusRoutes } from './status.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The name of the caller's token. */
    token: string;
  }
}

export interface ApiServerOptions extends PromptRoutesOptions {
  /** The name of the bearer of a token; undefined for nobody. */
  nameOfToken: (token: string) => string | undefined;
  status: StatusSource;
  catalog: SessionCatalog;
  log: Log;
}

const bodyLimit = 1024 * 1024;
/** Milliseconds in which a request must have arrived whole. */
const requestTimeout = 60_000;
const mostConnections = 1_024;

/** Routes that need no token. */
const open = new Set(['/openapi.json']);

export async function createApiServer(options: ApiServerOptions): Promise<FastifyInstance> {
  const server = fastify({
    bodyLimit,
    forceCloseConnections: 'idle',
    requestTimeout,
    frameworkErrors: (error, _request, reply) => {
      sendProblem(reply, fromThrown(error));
    },
    clientErrorHandler: answerNoRequest,
    routerOptions: { ignoreTrailingSlash: true },
  });
  server.server.maxConnections = mostConnections;
  server.setValidatorCompiler(validatorCompiler);
  server.setSerializerCompiler(serializerCompiler);
  server.decorateRequest('token', '');
  server.setErrorHandler((thrown, request, reply) => {
    const error = fromThrown(thrown);
    if (error.code === 'internal') {
      options.log.error('failed', 'a request failed', { error, url: request.url });
    }
    return sendProblem(reply, error);
  });
  server.setNotFoundHandler((request, reply) => {
    const allowed = methodsOf(server, request.url);
    if (allowed.length > 0) reply.header('allow', allowed.join(', '));
    return sendProblem(reply, notFound(request, allowed));
  });
  server.addHook('onRequest', async (request) => {
    if (open.has(request.routeOptions.url ?? '')) return;
    request.token = authenticate(request, options.nameOfToken);
  });
  await server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'berth',
        version,
        description: 'The Claude Code CLI as a service.',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    transform: createJsonSchemaTransform({ skipList: [] }),
  });
  promptRoutes(server, options);
  sessionRoutes(server, options.catalog);
  statusRoutes(server, options.status);
  server.get('/openapi.json', { schema: { hide: true } }, () => server.swagger());
  return server;
}

/** What is no HTTP request, too slow or too large in its head: nobody else would answer it. */
function answerNoRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const problem = toProblem(
    new BerthError(
      'invalid_request',
      `cannot read the request: ${error.code ?? error.message}; send a whole HTTP/1.1 request with a small head`,
    ),
  );
  const body = JSON.stringify(problem);
  socket.end(
    `HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/** The methods that the resource at `url` knows; none if there is no such resource. */
function methodsOf(server: FastifyInstance, url: string): string[] {
  const [path = ''] = url.split('?');
  return server.supportedMethods.filter(
    (method) => server.findRoute({ method, url: path }) !== null,
  );
}

function notFound({ method, url }: FastifyRequest, allowed: string[]): BerthError {
  return allowed.length > 0
    ? new BerthError(
        'method_not_allowed',
        `cannot ${method} ${url}: the resource does not know this method; use ${allowed.join(' or ')}`,
      )
    : new BerthError(
        'route_not_found',
        `cannot ${method} ${url}: there is no such resource; see /openapi.json`,
      );
}

function authenticate(
  request: FastifyRequest,
  nameOfToken: (token: string) => string | undefined,
): string {
  const [, token] = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '') ?? [];
  const name = token && nameOfToken(token);
  if (name) return name;
  const cause = token ? 'the token is not known' : 'it carries no token';
  throw new BerthError(
    'unauthorized',
    `cannot accept the request: ${cause}; send "Authorization: Bearer <token>" with a token of BERTH_API_TOKENS_FILE`,
  );
}
