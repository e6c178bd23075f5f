/**
 * The API server: serves the table of routes, with authentication, limits and errors.
 * Invariants: without a valid token only the rows of the table that `anyone`, or the holder of a `link`,
 * may call are answered. Every error is a problem with a code.
 */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { BerthError } from '../../shared/errors.ts';
import { assertAdmin } from './admin.ts';
import type { Authentication } from './authentication.ts';
import { assertFewValues, ValuesInTexts } from './body-values.ts';
import { sendError } from './compatible/error-shapes.ts';
import { errorShapeOf } from './compatible/foreign.ts';
import type { GracefulClose } from './graceful-close.ts';
import { boundConnections, type HttpLimits, httpLimits, serverOptions } from './limits.ts';
import { bodyOfForm, readMultipart } from './multipart.ts';
import { OwnTurn } from './own-turn.ts';
import { fromThrown, sendProblem, toProblem } from './problems.ts';
import { assertPromptSize } from './prompt-size.ts';
import { type ApiParts, type Route, routes } from './routes.ts';
import { setSecurityHeaders } from './security-headers.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The name of the caller's token. */
    token: string;
    /** Identifies the token among all tokens of that name. */
    tokenId: string;
    /** Whether parsing and checking the body may take milliseconds. */
    isLarge: boolean;
  }

  interface FastifyContextConfig {
    /** The row of the table; undefined if the request matches no row. */
    route?: Route;
  }
}

export interface ApiServerOptions extends ApiParts {
  authentication: Authentication;
  /** True while the server shuts down: each answer then closes its connection. */
  draining?: () => boolean;
  /** Refuses requests when the program stops. */
  gracefulClose?: GracefulClose;
  limits?: HttpLimits;
}

/** The byte limit of a body, for routes without a separate limit. */
const bodyLimit = 64 * 1024;

/** Characters of a JSON body above which its parsing and its validation each get a turn of the event loop. */
const largeBody = 4 * 1024;

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
  const untrusted = boundConnections(server.server, limits);
  server.setValidatorCompiler(validatorCompiler);
  server.setSerializerCompiler(serializerCompiler);
  const parse = server.getDefaultJsonParser('error', 'error');
  const ownTurn = new OwnTurn();
  server.addContentTypeParser(
    'application/json',
    { parseAs: 'string' },
    async (request: FastifyRequest, text: string) => {
      // Some clients send the content type without a body. The schema decides whether a body is required.
      if (text === '') return undefined;
      request.isLarge = text.length > largeBody;
      // The body is parsed and checked in one turn: no body with too many values stays in memory until a later turn.
      if (request.isLarge) await ownTurn.wait();
      const most = request.routeOptions.config.route?.mostValues;
      new ValuesInTexts(most).add(text);
      const { promise, resolve, reject } = Promise.withResolvers<unknown>();
      parse(request, text, (error, body) => (error ? reject(error) : resolve(body)));
      const body = await promise;
      assertFewValues(body, most);
      return body;
    },
  );
  server.addContentTypeParser('multipart/form-data', async (request: FastifyRequest) => {
    const { config, bodyLimit: limit } = request.routeOptions;
    const { route } = config;
    if (!route?.multipart) throw noForms();
    request.isLarge = true;
    const form = await readMultipart(request.raw, limit ?? bodyLimit);
    await ownTurn.wait();
    const { mostValues } = route;
    const texts = new ValuesInTexts(mostValues);
    const body = bodyOfForm(form, {
      isText: (field, value) => fitsAsText(route, field, value),
      beforeParsing: (text) => texts.add(text),
    });
    assertFewValues(body, mostValues);
    return body;
  });
  const urlencoded = 'application/x-www-form-urlencoded';
  server.addContentTypeParser(
    urlencoded,
    { parseAs: 'string' },
    async (request: FastifyRequest, text: string) => {
      if (request.routeOptions.config.route?.callers !== 'link') throw noForms();
      const fields = Object.fromEntries(new URLSearchParams(text));
      assertFewValues(fields);
      return fields;
    },
  );
  server.decorateRequest('token', '');
  server.decorateRequest('tokenId', '');
  server.decorateRequest('isLarge', false);
  server.setErrorHandler((thrown, request, reply) => {
    const error = fromThrown(thrown, request.routeOptions.bodyLimit);
    if (error.code === 'internal') {
      options.log.error('failed', 'a request failed', { error, url: request.url });
    }
    return sendFailure(request, reply, error);
  });
  server.setNotFoundHandler((request, reply) => {
    const allowed = methodsOf(server, request.url);
    if (allowed.length > 0) reply.header('allow', allowed.join(', '));
    return sendFailure(request, reply, notFound(request, allowed));
  });
  server.addHook('onRequest', (request, reply, next) => {
    setSecurityHeaders(reply.raw);
    if (options.draining?.()) reply.raw.setHeader('connection', 'close');
    // A path that is not in the table needs a token too.
    const callers = request.routeOptions.config.route?.callers;
    if (callers === 'anyone' || callers === 'link') return next();
    const { name, id } = options.authentication.bearerOf(request);
    untrusted.trust(request.raw.socket);
    request.token = name;
    request.tokenId = id;
    next();
  });
  const { gracefulClose } = options;
  gracefulClose?.watch(server.server);
  if (gracefulClose) server.addHook('preValidation', () => gracefulClose.pass());
  server.addHook('preValidation', async ({ isLarge }) => {
    if (isLarge) await ownTurn.wait();
  });
  server.addHook('preValidation', ({ body, routeOptions, headers }, _reply, next) => {
    const { route } = routeOptions.config;
    if (route?.multipart) assertPromptSize(body, Number(headers['content-length']), options);
    next();
  });
  server.addHook('preHandler', ({ token, routeOptions }, _reply, next) => {
    const { route } = routeOptions.config;
    if (route?.callers === 'admin') assertAdmin(options, token, route.action);
    next();
  });
  // The drain may have begun while the request ran.
  server.addHook('onSend', (_request, reply, _payload, next) => {
    if (options.draining?.()) reply.header('connection', 'close');
    next();
  });
  for (const route of routes) addRoute(server, route, options);
  return server;
}

function addRoute(server: FastifyInstance, route: Route, parts: ApiParts): void {
  const { method, path, status, answer, handler } = route;
  server.route({
    method,
    url: path,
    config: { route },
    ...(route.bodyLimit ? { bodyLimit: route.bodyLimit(parts) } : {}),
    schema: {
      ...(route.params ? { params: route.params } : {}),
      ...(route.query ? { querystring: route.query } : {}),
      ...(route.body ? { body: route.body } : {}),
      ...(answer ? { response: { [status ?? 200]: answer } } : {}),
    },
    handler: (request, reply) => {
      if (status !== undefined) reply.code(status);
      return handler(parts, request as never, reply);
    },
  });
}

function noForms(): BerthError {
  return new BerthError(
    'unsupported_media_type',
    'cannot read the request: this resource does not accept forms; send application/json',
  );
}

/** Whether the schema of the route accepts the text as the value of the field. */
function fitsAsText({ body }: Route, field: string, value: string): boolean {
  const shape = (body as z.ZodObject | undefined)?.shape ?? {};
  const schema = Object.hasOwn(shape, field) ? shape[field] : undefined;
  return schema === undefined || z.safeParse(schema, value).success;
}

function sendFailure(request: FastifyRequest, reply: FastifyReply, error: BerthError) {
  const shape = errorShapeOf(request);
  return shape === undefined ? sendProblem(reply, error) : sendError(reply, error, shape);
}

/** The error of a connection whose bytes are not a request. */
function refusalOf(code: string | undefined, message: string): BerthError {
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new BerthError(
      'headers_too_large',
      'cannot read the request: its address and headers are too long; move large values to the body',
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

/** Answers bytes that are not an HTTP request, or whose head is too slow or too large. */
function answerNoRequest(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable || answering(socket)) {
    return void socket.destroy();
  }
  const refusal = refusalOf(error.code, error.message);
  const body = JSON.stringify(toProblem(refusal));
  socket.end(
    `HTTP/1.1 ${refusal.status} ${refusal.status === 400 ? 'Bad Request' : 'Refused'}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    // The server does not wait for a client that does not read, or that continues to write.
    () => socket.destroySoon(),
  );
}

/** Whether an answer is being sent, so that nothing else may be written. */
function answering(socket: Socket & { _httpMessage?: ServerResponse | null }): boolean {
  return socket._httpMessage?.headersSent === true;
}

/** The methods of the resource at `url`; empty if there is no such resource. */
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
        `cannot ${method} ${url}: the resource does not support this method; use ${allowed.join(' or ')}`,
      )
    : new BerthError(
        'route_not_found',
        `cannot ${method} ${url}: the resource does not exist; see /openapi.json`,
      );
}
