/**
 * The API server: authentication, errors and the routes.
 * Always holds: no route but the description of the API answers without a valid token, and every
 * error is a problem with a code.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import swagger from '@fastify/swagger';
import { type FastifyInstance, type FastifyRequest, fastify, type RouteOptions } from 'fastify';
import {
  createJsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
} from 'fastify-type-provider-zod';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { version } from '../../shared/version.ts';
import type { SessionCatalog } from '../sessions/catalog.ts';
import { type AdminOptions, adminRoutes } from './admin.ts';
import type { Authentication } from './authentication.ts';
import { docsPage, docsStyle } from './docs-page.ts';
import type { Door } from './door.ts';
import {
  boundConnections,
  type HttpLimits,
  hasMoreValues,
  httpLimits,
  mostValues,
  serverOptions,
} from './limits.ts';
import { apiInfo, describeApi } from './openapi.ts';
import { fromThrown, sendProblem, toProblem } from './problems.ts';
import { type PromptRoutesOptions, promptRoutes } from './prompts.ts';
import { pagePolicy, setSecurityHeaders } from './security-headers.ts';
import { sessionRoutes } from './sessions.ts';
import { type StatusSource, statusRoutes } from './status.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The name of the caller's token. */
    token: string;
    /** Which of the tokens of that name. */
    tokenId: string;
  }
}

export interface ApiServerOptions extends PromptRoutesOptions, AdminOptions {
  authentication: Authentication;
  status: StatusSource;
  /** True when the server is about to stop: who has a connection should open it elsewhere. */
  draining?: () => boolean;
  /** Refuses requests when the program stops. */
  door?: Door;
  catalog: SessionCatalog;
  log: Log;
  limits?: HttpLimits;
}

/** Bytes of a body that carries no prompt. */
const bodyLimit = 64 * 1024;

/** Routes that need no token: they describe the API and know nothing else. */
const open = new Set(['/', '/openapi.json', '/docs']);

export async function createApiServer(options: ApiServerOptions): Promise<FastifyInstance> {
  const limits = options.limits ?? httpLimits;
  const server = fastify({
    bodyLimit,
    forceCloseConnections: 'idle',
    http: serverOptions(limits),
    requestTimeout: limits.requestTimeout,
    keepAliveTimeout: limits.keepAlive,
    frameworkErrors: (error, _request, reply) => {
      setSecurityHeaders(reply.raw);
      sendProblem(reply, fromThrown(error));
    },
    clientErrorHandler: answerNoRequest,
    routerOptions: { ignoreTrailingSlash: true },
  });
  const strangers = boundConnections(server.server, limits);
  server.setValidatorCompiler(validatorCompiler);
  server.setSerializerCompiler(serializerCompiler);
  // Clients name the type of a body that they do not send: whether one is needed, its schema says.
  const parse = server.getDefaultJsonParser('error', 'error');
  server.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined);
    else parse(request, body as string, done);
  });
  server.decorateRequest('token', '');
  server.decorateRequest('tokenId', '');
  server.setErrorHandler((thrown, request, reply) => {
    const error = fromThrown(thrown, request.routeOptions.bodyLimit);
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
  server.addHook('onRequest', (request, reply, next) => {
    setSecurityHeaders(reply.raw);
    if (options.draining?.()) reply.raw.setHeader('connection', 'close');
    if (open.has(request.routeOptions.url ?? '')) return next();
    const { name, id } = options.authentication.bearerOf(request);
    strangers.trust(request.raw.socket);
    request.token = name;
    request.tokenId = id;
    next();
  });
  const { door } = options;
  door?.watch(server.server);
  if (door) server.addHook('preValidation', () => door.pass());
  // Validation makes a message of each value that is wrong.
  server.addHook('preValidation', ({ body }, _reply, next) => {
    if (!hasMoreValues(body)) return next();
    throw new BerthError(
      'payload_too_large',
      `cannot read the request: its body has more than ${mostValues} values; put large input into the prompt, or into files of the workspace`,
    );
  });
  // The drain may have begun since.
  server.addHook('onSend', (_request, reply, _payload, next) => {
    if (options.draining?.()) reply.header('connection', 'close');
    next();
  });
  const routes: RouteOptions[] = [];
  server.addHook('onRoute', (route) => {
    routes.push(route);
  });
  await server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'berth', version, description: apiInfo },
      components: {
        securitySchemes: {
          token: {
            type: 'http',
            scheme: 'bearer',
            description:
              'A token that `berth token NAME` made; the server knows its SHA-256 alone.',
          },
        },
      },
      security: [{ token: [] }],
    },
    transform: createJsonSchemaTransform({ skipList: [] }),
  });
  promptRoutes(server, options);
  adminRoutes(server, options);
  sessionRoutes(server, options.catalog, options.log);
  statusRoutes(server, options.status);
  describedRoutes(server, routes);
  return server;
}

/** The description of the API, made once: it says nothing about what runs. */
function describedRoutes(server: FastifyInstance, routes: readonly RouteOptions[]): void {
  let description: Record<string, unknown> | undefined;
  const describe = () =>
    (description ??= describeApi(
      structuredClone(server.swagger()) as unknown as Record<string, unknown>,
      routes,
    ));
  const policy = pagePolicy(docsStyle);
  let page: string | undefined;
  // Relative, for a proxy that serves berth below a path of its own.
  server.get('/', { schema: { hide: true } }, (_request, reply) => reply.redirect('docs'));
  server.get('/openapi.json', { schema: { hide: true } }, describe);
  server.get('/docs', { schema: { hide: true } }, (_request, reply) => {
    page ??= docsPage(describe());
    return reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', policy)
      .serializer((html: unknown) => String(html))
      .send(page);
  });
}

/** What a connection is refused for before there is a request. */
function refusalOf(code: string | undefined, message: string): BerthError {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new BerthError(
      'headers_too_large',
      'cannot read the request: its address and headers are too long; put what is large into the body',
    );
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new BerthError(
      'request_timeout',
      'cannot read the request: it did not arrive in time; send it whole at once',
    );
  }
  return new BerthError(
    'invalid_request',
    `cannot read the request: ${code ?? message}; send a whole HTTP/1.1 request`,
  );
}

/** What is no HTTP request, too slow or too large in its head: nobody else would answer it. */
function answerNoRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable || answering(socket)) {
    return void socket.destroy();
  }
  const refusal = refusalOf(error.code, error.message);
  const body = JSON.stringify(toProblem(refusal));
  socket.end(
    `HTTP/1.1 ${refusal.status} ${refusal.status === 400 ? 'Bad Request' : 'Refused'}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    // Whoever does not read it, or goes on writing, is not waited for.
    () => socket.destroySoon(),
  );
}

/** Whether an answer is under way, into which nothing else may be written. */
function answering(socket: Socket & { _httpMessage?: ServerResponse | null }): boolean {
  return socket._httpMessage?.headersSent === true;
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
