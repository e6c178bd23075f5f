/**
 * The API as one table: a row for each method and path, with its schemas, its handler, and the
 * allowed callers. The server's routes, docs/openapi.json, docs/api.html and the test of the
 * allowed callers (test/supervisor/http/routes.test.ts) are all made from this table.
 * Invariant: a path that is not in the table is not served.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import type { ErrorCode } from '../../shared/errors.ts';
import {
  type AdminAction,
  type AdminParts,
  pauseSchema,
  pauseServer,
  resumeServer,
  switchedSchema,
} from './admin.ts';
import {
  approvalIdSchema,
  approvalSchema,
  approvalsSchema,
  decisionSchema,
  formSchema,
  linkSchema,
} from './approval-schema.ts';
import {
  type ApprovalParts,
  decideApproval,
  decideByLink,
  listApprovals,
  showApproval,
  showLink,
} from './approvals.ts';
import { encodedBytes } from './attachment-fields.ts';
import { chatApi } from './compatible/chat-completions.ts';
import { countTokens } from './compatible/count-tokens.ts';
import { compatibleDocumentation } from './compatible/documentation.ts';
import type { ErrorShape } from './compatible/error-shapes.ts';
import { messagesApi } from './compatible/messages.ts';
import {
  listModels,
  type ModelParts,
  modelIdSchema,
  modelSchema,
  modelsQuerySchema,
  modelsSchema,
  showModel,
} from './compatible/models.ts';
import { responsesApi } from './compatible/responses.ts';
import {
  chatAnswerSchema,
  chatSchema,
  countTokensSchema,
  messageAnswerSchema,
  messagesSchema,
  mostHistoryValues,
  responseAnswerSchema,
  responsesSchema,
  tokensSchema,
} from './compatible/schemas.ts';
import { type CompatibleParts, serveConversation } from './compatible/serve.ts';
import { redirectToDocs, sendDocsPage, sendOpenApi } from './documents.ts';
import { sendJobEvents } from './job-events.ts';
import {
  eventsQuerySchema,
  jobDocumentation,
  jobEventsDocumentation,
  jobIdSchema,
  jobPageSchema,
  jobSchema,
  jobsQuerySchema,
  jobViewSchema,
  promptOrJobSchema,
  removedSchema,
  waitSchema,
} from './job-schema.ts';
import {
  acceptJob,
  cancelJob,
  type JobParts,
  listJobs,
  removeJob,
  retryJob,
  showJob,
} from './jobs.ts';
import { type McpEndpoint, mcpAnswerSchema, mcpMessageSchema } from './mcp/endpoint.ts';
import { jobProblems, promptProblems } from './problem-codes.ts';
import { answerSchema, promptDocumentation } from './prompt-schema.ts';
import { type PromptParts, runPrompt } from './prompts.ts';
import {
  deleteSession,
  goneSchema,
  idSchema,
  interruptedSchema,
  interruptSession,
  listSessions,
  pageQuerySchema,
  pageSchema,
  type SessionParts,
  sessionSchema,
  showSession,
} from './sessions.ts';
import { type StatusSource, statusSchema } from './status.ts';

/** The parts that the handlers use. */
export interface ApiParts
  extends PromptParts,
    AdminParts,
    SessionParts,
    JobParts,
    ApprovalParts,
    CompatibleParts,
    ModelParts {
  status: StatusSource;
  mcp: Pick<McpEndpoint, 'handle'>;
}

/**
 * The allowed callers of a route:
 * - `anyone`: no token is needed;
 * - `token`: every valid token;
 * - `link`: every caller with the link, which has a key in its path; no token is needed;
 * - `owner`: the token to which the session or the job in the path belongs; every other token gets
 *   `session_not_found` or `job_not_found`;
 * - `admin`: a token that may pause the server, by the profiles file; every other token gets
 *   `forbidden`, and the log names the action.
 */
type Access =
  | { callers: 'anyone' | 'token' | 'link' }
  | { callers: 'owner'; of: 'session' | 'job' | 'approval' }
  | { callers: 'admin'; action: AdminAction };

/** Parts of the OpenAPI document that the schemas do not contain. */
export interface RouteDocumentation {
  parameters: readonly object[];
  examples?: Readonly<Record<string, { value: unknown }>>;
  answerHeaders?: Readonly<Record<string, object>>;
  /** The events of the answer as a stream, by name, without the last one. */
  events?: Readonly<Record<string, z.ZodType>>;
  streamExample?: string;
  /** When the route answers 202 with a job instead. */
  isEitherJob?: string;
}

interface Row<Params = unknown, Query = unknown, Body = unknown, Answer = unknown> {
  method: 'GET' | 'POST' | 'DELETE';
  path: string;
  /** A route without a summary is not in the OpenAPI document. */
  summary?: string;
  description?: string;
  params?: z.ZodType<Params>;
  query?: z.ZodType<Query>;
  body?: z.ZodType<Body>;
  /** The byte limit of the body, if the route has a separate limit. */
  bodyLimit?: (parts: ApiParts) => number;
  /** Whether the body may be `multipart/form-data`. */
  multipart?: boolean;
  answer?: z.ZodType<Answer>;
  /** HTTP status of `answer`; 200 unless given. */
  status?: number;
  /** Error codes that this route answers, besides those that follow from `callers` and `body`. */
  problems?: readonly ErrorCode[];
  /**
   * The API whose shape the errors have; `caller`: that of the library which calls. Absent: RFC 9457. Such a route
   * also accepts the token as `x-api-key`.
   */
  errors?: ErrorShape | 'caller';
  /** The most JSON values of the body, if they are read one after the other. */
  mostValues?: number;
  documentation?: RouteDocumentation;
}

type Handler<Params, Query, Body, Answer> = (
  parts: ApiParts,
  request: FastifyRequest<{ Params: Params; Querystring: Query; Body: Body }>,
  reply: FastifyReply,
) => Answer | FastifyReply | Promise<Answer | FastifyReply>;

/** A row whose handler fits its schemas, which `route` has checked. */
export type Route = Row &
  Access & { handler: (parts: ApiParts, request: never, reply: FastifyReply) => unknown };

/** Lets the compiler check the handler of one row against the schemas of the row. */
function route<Params, Query, Body, Answer>(
  row: Row<Params, Query, Body, Answer> &
    Access & { handler: Handler<Params, Query, Body, Answer> },
): Route {
  return row;
}

/** The byte limit of a prompt with its attachments. `assertPromptSize` checks the prompt without them. */
function promptLimit({ maxPromptBytes, maxAttachmentBytes }: ApiParts): number {
  return maxPromptBytes + (maxAttachmentBytes > 0 ? encodedBytes(maxAttachmentBytes) : 0);
}

/** In the sequence of the OpenAPI document. */
export const routes: readonly Route[] = [
  route({
    method: 'POST',
    path: '/v1/prompts',
    callers: 'token',
    summary: 'Run one prompt',
    description:
      'With `Accept: text/event-stream` the answer is a stream of events, of which the last is `result` or `error`. A prompt whose client disconnects is interrupted. With `Prefer: respond-async` the prompt becomes a job: the answer is then that of `POST /v1/jobs`, also if a stream was wanted.',
    body: promptOrJobSchema,
    bodyLimit: promptLimit,
    multipart: true,
    answer: answerSchema,
    problems: promptProblems,
    documentation: promptDocumentation,
    handler: runPrompt,
  }),
  route({
    method: 'POST',
    path: '/v1/jobs',
    callers: 'token',
    summary: 'Accept a job: a prompt that runs to its end, over restarts and limits',
    description:
      'The answer is sent when the job is durable. The result is in the job: see `GET /v1/jobs/{id}` and callback_url. The answer is never a stream of events.',
    body: jobSchema,
    bodyLimit: promptLimit,
    multipart: true,
    answer: jobViewSchema,
    status: 202,
    problems: [...jobProblems, 'idempotency_mismatch', 'session_not_found', 'profile_not_found'],
    documentation: jobDocumentation,
    handler: acceptJob,
  }),
  route({
    method: 'GET',
    path: '/v1/jobs',
    callers: 'token',
    summary: 'The jobs of this token',
    description:
      '`metadata.KEY=VALUE` selects jobs with that value; several of them must all be equal.',
    query: jobsQuerySchema,
    answer: jobPageSchema,
    problems: ['job_store_unavailable'],
    handler: listJobs,
  }),
  route({
    method: 'GET',
    path: '/v1/jobs/:id',
    ...{ callers: 'owner', of: 'job' },
    summary: 'One job, with its result',
    description:
      'With `wait` the answer comes when the job has ended, or after that time. It comes earlier if the server stops; then repeat the request.',
    params: jobIdSchema,
    query: waitSchema,
    answer: jobViewSchema,
    problems: ['job_store_unavailable', 'volume_unwritable'],
    handler: showJob,
  }),
  route({
    method: 'POST',
    path: '/v1/jobs/:id/cancel',
    ...{ callers: 'owner', of: 'job' },
    summary: 'Cancel a job',
    description:
      'Its running turn is interrupted. A job that was cancelled before is answered again.',
    params: jobIdSchema,
    answer: jobViewSchema,
    problems: ['job_ended', 'job_store_unavailable', 'volume_unwritable'],
    handler: cancelJob,
  }),
  route({
    method: 'POST',
    path: '/v1/jobs/:id/retry',
    ...{ callers: 'owner', of: 'job' },
    summary: 'Run a failed job again',
    description: 'The job is queued with all its attempts, and continues its session.',
    params: jobIdSchema,
    answer: jobViewSchema,
    status: 202,
    problems: ['job_ended', 'job_not_ended', 'jobs_full', 'job_store_unavailable'],
    handler: retryJob,
  }),
  route({
    method: 'DELETE',
    path: '/v1/jobs/:id',
    ...{ callers: 'owner', of: 'job' },
    summary: 'Remove a job that has ended',
    params: jobIdSchema,
    answer: removedSchema,
    status: 204,
    problems: ['job_not_ended', 'job_store_unavailable'],
    handler: removeJob,
  }),
  route({
    method: 'GET',
    path: '/v1/jobs/:id/events',
    ...{ callers: 'owner', of: 'job' },
    summary: 'The events of a job, as server-sent events',
    description:
      'The events so far, with ids, then what follows, until the job has ended. The newest 1,000 events are kept; `missed` has the range of ids that were dropped. 204 if the job has ended and the client has all its events.',
    params: jobIdSchema,
    query: eventsQuerySchema,
    problems: ['job_store_unavailable'],
    documentation: jobEventsDocumentation,
    handler: sendJobEvents,
  }),
  route({
    method: 'GET',
    path: '/v1/approvals',
    callers: 'token',
    summary: 'The pending approvals of this token, and those that it may decide',
    answer: approvalsSchema,
    problems: ['job_store_unavailable'],
    handler: listApprovals,
  }),
  route({
    method: 'GET',
    path: '/v1/approvals/:id',
    ...{ callers: 'owner', of: 'approval' },
    summary: 'One approval',
    params: approvalIdSchema,
    answer: approvalSchema,
    problems: ['job_store_unavailable'],
    handler: showApproval,
  }),
  route({
    method: 'POST',
    path: '/v1/approvals/:id',
    ...{ callers: 'owner', of: 'approval' },
    summary: 'Decide an approval',
    description:
      'Only a token that the profile names as an approver may decide, and about prompts of its own only if the profile allows that. An approval is decided once.',
    params: approvalIdSchema,
    body: decisionSchema,
    answer: approvalSchema,
    problems: ['forbidden', 'approval_ended', 'job_store_unavailable'],
    handler: decideApproval,
  }),
  route({
    method: 'GET',
    path: '/approvals/:id/:key',
    callers: 'link',
    params: linkSchema,
    handler: showLink,
  }),
  route({
    method: 'POST',
    path: '/approvals/:id/:key',
    callers: 'link',
    params: linkSchema,
    body: formSchema,
    handler: decideByLink,
  }),
  route({
    method: 'POST',
    path: '/v1/messages',
    callers: 'token',
    errors: 'anthropic',
    summary: "Run one prompt in the form of Anthropic's Messages API",
    description:
      'For clients that have a base URL of their own: see docs/clients.md for what is honoured, warned about and refused. A history that a session has continues that session. `berth` beside the fields of the API has the session and the cost.',
    body: messagesSchema,
    bodyLimit: promptLimit,
    mostValues: mostHistoryValues,
    answer: messageAnswerSchema,
    problems: promptProblems,
    documentation: compatibleDocumentation.messages,
    handler: (parts, request, reply) => serveConversation(messagesApi, parts, request, reply),
  }),
  route({
    method: 'POST',
    path: '/v1/messages/count_tokens',
    callers: 'token',
    errors: 'anthropic',
    summary: 'Estimate the tokens of a request, without a call of the model',
    body: countTokensSchema,
    bodyLimit: promptLimit,
    mostValues: mostHistoryValues,
    answer: tokensSchema,
    handler: countTokens,
  }),
  route({
    method: 'POST',
    path: '/v1/chat/completions',
    callers: 'token',
    errors: 'openai',
    summary: "Run one prompt in the form of OpenAI's Chat Completions API",
    description: 'As `POST /v1/messages`, for clients of OpenAI.',
    body: chatSchema,
    bodyLimit: promptLimit,
    mostValues: mostHistoryValues,
    answer: chatAnswerSchema,
    problems: promptProblems,
    documentation: compatibleDocumentation.chat,
    handler: (parts, request, reply) => serveConversation(chatApi, parts, request, reply),
  }),
  route({
    method: 'POST',
    path: '/v1/responses',
    callers: 'token',
    errors: 'openai',
    summary: "Run one prompt in the form of OpenAI's Responses API",
    description:
      'As `POST /v1/messages`, for clients of OpenAI. `previous_response_id` continues the session of that response.',
    body: responsesSchema,
    bodyLimit: promptLimit,
    mostValues: mostHistoryValues,
    answer: responseAnswerSchema,
    problems: promptProblems,
    documentation: compatibleDocumentation.responses,
    handler: (parts, request, reply) => serveConversation(responsesApi, parts, request, reply),
  }),
  route({
    method: 'GET',
    path: '/v1/models',
    callers: 'token',
    errors: 'caller',
    summary: 'The names that select a profile, for the clients of Anthropic and OpenAI',
    query: modelsQuerySchema,
    answer: modelsSchema,
    handler: listModels,
  }),
  route({
    method: 'GET',
    path: '/v1/models/:id',
    callers: 'token',
    errors: 'caller',
    summary: 'One of these names',
    params: modelIdSchema,
    answer: modelSchema,
    problems: ['model_not_found'],
    handler: showModel,
  }),
  route({
    method: 'GET',
    // Some clients do not encode the slash of a name.
    path: '/v1/models/berth/:id',
    callers: 'token',
    errors: 'caller',
    params: modelIdSchema,
    answer: modelSchema,
    handler: (parts, { token, params: { id } }) =>
      showModel(parts, { token, params: { id: `berth/${id}` } }),
  }),
  route({
    method: 'POST',
    path: '/v1/pause',
    callers: 'admin',
    action: 'pause',
    summary: 'Refuse new prompts and interrupt running prompts',
    description:
      'Prompts are answered `paused` until `/v1/resume`, also after a restart. The server stays ready.',
    body: pauseSchema,
    answer: switchedSchema,
    handler: pauseServer,
  }),
  route({
    method: 'POST',
    path: '/v1/resume',
    callers: 'admin',
    action: 'resume',
    summary: 'Accept prompts again',
    answer: switchedSchema,
    handler: resumeServer,
  }),
  route({
    method: 'GET',
    path: '/v1/sessions',
    callers: 'token',
    summary: 'The sessions of this token',
    query: pageQuerySchema,
    answer: pageSchema,
    handler: listSessions,
  }),
  route({
    method: 'GET',
    path: '/v1/sessions/:id',
    ...{ callers: 'owner', of: 'session' },
    summary: 'One session',
    params: idSchema,
    answer: sessionSchema,
    handler: showSession,
  }),
  route({
    method: 'DELETE',
    path: '/v1/sessions/:id',
    ...{ callers: 'owner', of: 'session' },
    summary: 'Remove a session',
    description:
      'Its running turn is interrupted; its process, its transcript and its own working directory go with it.',
    params: idSchema,
    answer: goneSchema,
    status: 204,
    problems: ['volume_unwritable'],
    handler: deleteSession,
  }),
  route({
    method: 'POST',
    path: '/v1/sessions/:id/interrupt',
    ...{ callers: 'owner', of: 'session' },
    summary: 'Interrupt the running turn of a session',
    description:
      'Its prompt is answered with the error `interrupted`; the session can be continued. Prompts that wait for the session stay.',
    params: idSchema,
    answer: interruptedSchema,
    handler: interruptSession,
  }),
  route({
    method: 'GET',
    path: '/v1/status',
    callers: 'token',
    summary: 'The state of the server',
    answer: statusSchema,
    handler: ({ status }) => status(),
  }),
  route({
    method: 'POST',
    path: '/mcp',
    callers: 'token',
    summary: 'The MCP server: berth as tools of other agents',
    description:
      'The Streamable HTTP transport of the Model Context Protocol, without sessions: see docs/mcp.md. Errors within the protocol are JSON-RPC errors. 403 if a web page calls whose origin is not in BERTH_MCP_ORIGINS.',
    body: mcpMessageSchema,
    bodyLimit: promptLimit,
    answer: mcpAnswerSchema,
    handler: ({ mcp }, request, reply) => mcp.handle(request, reply),
  }),
  route({ method: 'GET', path: '/', callers: 'anyone', handler: redirectToDocs }),
  route({ method: 'GET', path: '/openapi.json', callers: 'anyone', handler: sendOpenApi }),
  route({ method: 'GET', path: '/docs', callers: 'anyone', handler: sendDocsPage }),
];
