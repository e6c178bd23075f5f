/**
 * What the description of the API has besides the schemas that validate: the errors of each route,
 * the events of streams, examples. Always holds: a code that is added to the error table is described
 * without anybody thinking of it.
 */
import type { RouteOptions } from 'fastify';
import { z } from 'zod';
import { BerthError, type ErrorCode, errorTable } from '../../shared/errors.ts';
import { problemSchema, toProblem } from './problems.ts';
import { streamEvents, streamExample } from './stream-events.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The codes that a route answers, besides those that every route does. */
    problems?: readonly ErrorCode[];
    /** True if it can answer with a stream of events. */
    events?: boolean;
  }
}

type Json = Record<string, unknown>;

/** Codes with which programs end, and which no request meets. */
const ofPrograms: readonly ErrorCode[] = [
  'config_invalid',
  'volume_damaged',
  'remote_unavailable',
  'remote_refused',
  'lease_held',
  'cli_undelivered',
  'cli_refused',
  'login_failed',
  'write_back_failed',
];
const ofEveryRoute: readonly ErrorCode[] = [
  'invalid_request',
  'unauthorized',
  'request_timeout',
  'headers_too_large',
  'internal',
];
const ofBodies: readonly ErrorCode[] = ['payload_too_large', 'unsupported_media_type'];
const ofOtherRoutes: readonly ErrorCode[] = ['route_not_found', 'method_not_allowed', 'forbidden'];

const allCodes = Object.keys(errorTable) as ErrorCode[];

/** What can become of a prompt: all that nobody has said to belong elsewhere. */
export const promptProblems: readonly ErrorCode[] = allCodes.filter(
  (code) => ![...ofPrograms, ...ofOtherRoutes].includes(code),
);

export const describedCodes: readonly ErrorCode[] = allCodes.filter(
  (code) => !ofPrograms.includes(code),
);

export const apiInfo = `Runs prompts with the Claude Code CLI.

Every call needs \`Authorization: Bearer <token>\`. Errors are \`application/problem+json\` (RFC 9457): decide by \`code\`, and try again only where \`retryable\` is true, after \`Retry-After\` seconds if the header is there. Answers have no CORS headers: call from servers, not from web pages.`;

/** Adds to what the schemas say. Changes and returns `document`. */
export function describeApi(document: Json, routes: readonly RouteOptions[]): Json {
  const components = document.components as { schemas?: Json };
  const { $schema: _, ...problem } = z.toJSONSchema(problemSchema, { io: 'output' });
  components.schemas = { ...components.schemas, Problem: { ...problem, examples: [example] } };
  for (const { method, url, config = {} } of routes) {
    const item = (document.paths as Record<string, Json>)[url.replace(/:(\w+)/g, '{$1}')];
    const operation = item?.[String(method).toLowerCase()] as Operation | undefined;
    if (!operation) continue;
    const body = operation.requestBody ? ofBodies : [];
    describeProblems(operation, [...ofEveryRoute, ...body, ...(config.problems ?? [])]);
    if (config.events) describeStream(operation);
    if (url === '/v1/prompts') describePrompt(operation);
  }
  return document;
}

interface Operation {
  parameters?: Json[];
  requestBody?: { content: Record<string, Json> };
  responses: Record<
    string,
    { description: string; content?: Record<string, Json>; headers?: Json }
  >;
}

const example = toProblem(
  new BerthError('queue_full', 'cannot take the prompt: 100 wait already; try again in a moment'),
);

function describeProblems(operation: Operation, codes: readonly ErrorCode[]): void {
  delete operation.responses.default;
  const byStatus = Map.groupBy(new Set(codes), (code) => errorTable[code].status);
  for (const [status, group] of [...byStatus].sort(([a], [b]) => a - b)) {
    const lines = group.map((code) => {
      const { title, retryable } = errorTable[code];
      return `\`${code}\`${retryable ? ' (retryable)' : ''}: ${title}.`;
    });
    const headers = {
      'Retry-After': { description: 'Seconds, where they are known', schema: { type: 'integer' } },
    };
    operation.responses[status] = {
      description: lines.join(' '),
      ...(group.some((code) => errorTable[code].retryable) ? { headers } : {}),
      content: {
        'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
      },
    };
  }
}

function describeStream(operation: Operation): void {
  const done = operation.responses[200]?.content;
  const answer = done?.['application/json']?.schema;
  if (!done || !answer) return;
  const event = (name: string, data: unknown, description?: string) => ({
    type: 'object',
    ...(description === undefined ? {} : { description }),
    properties: { event: { const: name }, data },
    required: ['event', 'data'],
  });
  const running = Object.entries(streamEvents).map(([name, schema]) => {
    const { $schema: _, description, ...data } = z.toJSONSchema(schema, { io: 'output' });
    return event(name, data, description);
  });
  done['text/event-stream'] = {
    schema: {
      description:
        'Server-sent events: each has a name and JSON as its data. A comment comes every 15 s. An error before the first event is answered with its own status instead.',
      oneOf: [
        ...running,
        event('result', answer, 'The answer; the last event'),
        event('error', { $ref: '#/components/schemas/Problem' }, 'The failure; the last event'),
      ],
    },
    example: streamExample,
  };
}

function describePrompt(operation: Operation): void {
  const header = (name: string, description: string, schema: Json) => ({
    name,
    in: 'header',
    required: false,
    description,
    schema: { type: 'string', ...schema },
  });
  operation.parameters = [
    header(
      'Idempotency-Key',
      'Quoted or bare. Within BERTH_IDEMPOTENCY_WINDOW the same key and body are answered as before, without running the prompt again; a restart forgets. For workflows that repeat requests.',
      { maxLength: 1024 },
    ),
    header(
      'traceparent',
      'W3C trace context; its trace id is in the log. A wrong one is ignored.',
      {
        examples: ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'],
      },
    ),
    header('Accept', '`text/event-stream` for a stream of events', {}),
  ];
  const json = operation.requestBody?.content['application/json'];
  if (json) {
    json.examples = {
      question: { value: { prompt: 'Which skills do you have?' } },
      workflow: {
        value: {
          prompt: 'Review the change in /workspace/shop',
          timeout: '90s',
          metadata: { execution: '42' },
        },
      },
    };
  }
  const answered = operation.responses[200];
  if (!answered) return;
  answered.headers = {
    'idempotency-replayed': {
      description: 'Present, and true, if this is the answer of an earlier request',
      schema: { const: 'true' },
    },
  };
}
