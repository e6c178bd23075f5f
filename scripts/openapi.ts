/**
 * Makes the OpenAPI document from the table of routes (supervisor/http/routes.ts).
 * Invariant: each route names every error code that it can answer, including a code that is new in
 * the error table.
 */
import swagger from '@fastify/swagger';
import { fastify } from 'fastify';
import { createJsonSchemaTransform, validatorCompiler } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { BerthError, type ErrorCode, errorTable } from '../shared/errors.ts';
import { version } from '../shared/version.ts';
import { errorSchemas, statusIn } from '../supervisor/http/compatible/error-shapes.ts';
import { jobViewSchema } from '../supervisor/http/job-schema.ts';
import { bodyProblems, commonProblems } from '../supervisor/http/problem-codes.ts';
import { problemSchema, toProblem } from '../supervisor/http/problems.ts';
import { type Route, type RouteDocumentation, routes } from '../supervisor/http/routes.ts';

type Json = Record<string, unknown>;

interface Operation {
  parameters?: readonly object[];
  requestBody?: { content: Record<string, Json> };
  responses: Record<
    string,
    { description: string; content?: Record<string, Json>; headers?: Readonly<Json> }
  >;
}

export interface OpenApiDocument {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas?: Json };
}

const about = `Runs prompts with the Claude Code CLI.

Every call needs \`Authorization: Bearer <token>\`. Errors are \`application/problem+json\` (RFC 9457): decide by \`code\`, and try again only where \`retryable\` is true, after \`Retry-After\` seconds if the header is there. Answers have no CORS headers: call from servers, not from web pages.`;

const tokenScheme = {
  type: 'http',
  scheme: 'bearer',
  description: 'A token that `berth token NAME` made; the server knows its SHA-256 alone.',
} as const;

export async function openApiDocument(): Promise<OpenApiDocument> {
  const document = await describeSchemas();
  const { $schema: _, ...problem } = z.toJSONSchema(problemSchema, { io: 'output' });
  const { $schema: __, ...job } = z.toJSONSchema(jobViewSchema, { io: 'output' });
  document.components.schemas = {
    Problem: { ...problem, examples: [example] },
    Job: job,
    AnthropicError: jsonSchemaOf(errorSchemas.anthropic),
    OpenAIError: jsonSchemaOf(errorSchemas.openai),
  };
  for (const route of described()) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    const operation = document.paths[path]?.[route.method.toLowerCase()];
    if (operation) describeRoute(operation, route);
  }
  return document;
}

function jsonSchemaOf(schema: z.ZodType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'output' });
  return rest;
}

function described(): Route[] {
  return routes.filter(({ summary }) => summary !== undefined);
}

/** Returns the document as the schemas describe the API. No handler is called. */
async function describeSchemas(): Promise<OpenApiDocument> {
  const server = fastify();
  server.setValidatorCompiler(validatorCompiler);
  server.setSerializerCompiler(() => JSON.stringify);
  await server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'berth', version, description: about },
      components: { securitySchemes: { token: tokenScheme } },
      security: [{ token: [] }],
    },
    transform: createJsonSchemaTransform({ skipList: [] }),
  });
  for (const { method, path, summary, description, ...route } of described()) {
    server.route({
      method,
      url: path,
      schema: {
        summary,
        description,
        ...(route.params ? { params: route.params } : {}),
        ...(route.query ? { querystring: route.query } : {}),
        ...(route.body ? { body: route.body } : {}),
        ...(route.answer ? { response: { [route.status ?? 200]: route.answer } } : {}),
      },
      handler: async () => undefined,
    });
  }
  await server.ready();
  return structuredClone(server.swagger()) as unknown as OpenApiDocument;
}

/** The error code that follows from the allowed callers. */
function callerProblem(route: Route): ErrorCode[] {
  if (route.callers === 'admin') return ['forbidden'];
  return route.callers === 'owner' ? [`${route.of}_not_found`] : [];
}

function describeRoute(operation: Operation, route: Route) {
  const { body, problems, documentation, errors } = route;
  const codes = [
    ...commonProblems,
    ...(body ? bodyProblems : []),
    ...callerProblem(route),
    ...(problems ?? []),
  ];
  describeProblems(operation, codes, errors);
  const status = route.status ?? 200;
  if (route.answer === jobViewSchema) operation.responses[status] = aJob;
  if (documentation) describeFurther(operation, documentation, status);
}

const aJob = {
  description: 'The job',
  content: { 'application/json': { schema: { $ref: '#/components/schemas/Job' } } },
};

const example = toProblem(
  new BerthError(
    'queue_full',
    'cannot accept the prompt: 100 prompts are already waiting; try again later',
  ),
);

const schemaRef = (name: string): Json => ({ $ref: `#/components/schemas/${name}` });

/** The bodies of errors, by media type. */
function errorContent(errors: Route['errors']): Record<string, Json> {
  const [anthropic, openai] = [schemaRef('AnthropicError'), schemaRef('OpenAIError')];
  switch (errors) {
    case undefined:
      return { 'application/problem+json': { schema: schemaRef('Problem') } };
    case 'caller':
      return { 'application/json': { schema: { oneOf: [anthropic, openai] } } };
    default:
      return { 'application/json': { schema: errors === 'anthropic' ? anthropic : openai } };
  }
}

function describeProblems(
  operation: Operation,
  codes: readonly ErrorCode[],
  errors: Route['errors'],
): void {
  const statusOf = (code: ErrorCode): number =>
    errors === undefined
      ? errorTable[code].status
      : statusIn(code, errors === 'caller' ? 'openai' : errors);
  const byStatus = Map.groupBy(new Set(codes), statusOf);
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
      content: errorContent(errors),
    };
  }
}

function describeFurther(
  operation: Operation,
  documentation: RouteDocumentation,
  status: number,
): void {
  const { parameters, examples, answerHeaders, isEitherJob } = documentation;
  operation.parameters = [...(operation.parameters ?? []), ...parameters];
  const body = operation.requestBody?.content['application/json'];
  if (body && examples) body.examples = examples;
  if (isEitherJob) operation.responses[202] = { ...aJob, description: isEitherJob };
  const answered = { ...operation.responses[status], description: 'The answer' };
  operation.responses[status] = answered;
  if (answerHeaders) answered.headers = answerHeaders;
  const streamed = eventStream(answered.content?.['application/json']?.schema, documentation);
  if (streamed) answered.content = { ...answered.content, 'text/event-stream': streamed };
}

/** @param answer the schema of the answer without a stream; absent: the route has only a stream */
function eventStream(
  answer: unknown,
  { events, streamExample }: RouteDocumentation,
): Json | undefined {
  if (!events) return undefined;
  const event = (name: string, data: unknown, description?: string) => ({
    type: 'object',
    ...(description === undefined ? {} : { description }),
    properties: { event: { const: name }, data },
    required: ['event', 'data'],
  });
  const running = Object.entries(events).map(([name, schema]) => {
    const { $schema: _, description, ...data } = z.toJSONSchema(schema, { io: 'output' });
    return event(name, data, description);
  });
  return {
    schema: {
      description:
        'Server-sent events: each has a name and JSON as its data. A comment comes every 15 s. An error before the first event is answered with its own status instead.',
      oneOf: [
        ...running,
        ...(answer === undefined
          ? []
          : [
              event('result', answer, 'The answer; the last event'),
              event(
                'error',
                { $ref: '#/components/schemas/Problem' },
                'The failure; the last event',
              ),
            ]),
      ],
    },
    example: streamExample,
  };
}
