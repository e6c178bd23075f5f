/** The schemas of `POST /v1/prompts`: its body, its answer, and what the OpenAPI document adds to them. */
import { z } from 'zod';
import { publishSchema, workspaceSchema } from '../workspaces/workspace-request.ts';
import { attachmentsField } from './attachment-fields.ts';
import { streamEvents, streamExample } from './stream-events.ts';

const count = z.number().int();

export const promptSchema = z
  .strictObject({
    prompt: z
      .string({ error: 'expected a text' })
      .refine((text) => text.trim() !== '', { error: 'it is empty' })
      .describe(
        'The task or question: text, unless it begins with a command that the profile allows',
      ),
    attachments: attachmentsField.optional(),
    session_id: z
      .uuid({ error: 'expected the session_id of an earlier answer' })
      .optional()
      .describe('The session to continue; absent: begin a session'),
    fork: z
      .boolean({ error: 'expected true or false' })
      .optional()
      .describe('Begin a new session with the history of session_id, which stays unchanged'),
    profile: z
      .string({ error: 'expected the name of a profile' })
      .optional()
      .describe(
        'The profile; absent: the default profile of the token. A session keeps its profile',
      ),
    model: z.string().optional().describe('The model, if the profile allows requests to select it'),
    append_system_prompt: z.string().optional().describe("Appended after the profile's own"),
    allowed_tools: z
      .array(z.string())
      .optional()
      .describe('Fewer tools than the profile allows; never more'),
    max_turns: z.number().optional().describe('Calls of the model at most'),
    max_budget_usd: z.number().optional().describe('US dollars that the prompt may cost'),
    output_schema: z
      .record(z.string(), z.unknown())
      .optional()
      .describe('A JSON Schema for structured_output'),
    timeout: z
      .string({ error: 'expected a duration such as "90s"' })
      .optional()
      .describe('The time limit, such as "90s"; at most BERTH_PROMPT_TIMEOUT'),
    heartbeat: z
      .string({ error: 'expected a duration such as "30s"' })
      .optional()
      .describe(
        'For clients with a read timeout: the interval in which white space is sent before the JSON. The status is then 200, even if an error follows',
      ),
    on_limit: z
      .enum(['fail', 'wait'])
      .optional()
      .describe("When the account's limit is reached: fail at once (default), or wait for its end"),
    on_recycle: z
      .enum(['continue', 'fail'])
      .optional()
      .describe(
        'When the process is lost or ended in the middle of the turn: carry the turn on in another one (default; tools may then run twice), or fail with worker_recycled',
      ),
    workspace: workspaceSchema.optional(),
    publish: publishSchema.optional(),
    metadata: z
      .record(z.string(), z.string())
      .optional()
      .describe('For the caller: returned with the answer'),
  })
  .describe('A prompt');

export const answerSchema = z
  .object({
    id: z.string(),
    session_id: z.string().describe('Send it with the next prompt to continue the session'),
    profile: z.string(),
    result: z.string(),
    structured_output: z.unknown().optional().describe('Matches output_schema'),
    is_error: z.boolean().describe('Always false: a failure is a problem with a code'),
    stop_reason: z.string().nullable(),
    usage: z.object({
      input_tokens: count,
      output_tokens: count,
      cache_creation_input_tokens: count,
      cache_read_input_tokens: count,
    }),
    config_commit: z
      .string()
      .optional()
      .describe('The commit of the `.claude` repository that the process of the session has read'),
    cost_usd: z.number().describe('Of this turn, at list prices'),
    num_turns: count.describe('Calls of the model'),
    duration_ms: count.describe('From acceptance to the answer'),
    queued_ms: count.describe('Of these: until a worker was there'),
    ttft_ms: z.number().nullable().describe('Time to the first token'),
    permission_denials: z.array(z.object({ tool_name: z.string(), tool_use_id: z.string() })),
    warnings: z
      .array(z.string())
      .describe('For example denied tools, and the line that would allow them'),
    background: z
      .array(z.object({ at: z.string(), result: z.string(), is_error: z.boolean() }))
      .optional()
      .describe(
        'Reports of background work since the last answer of the session, also of work that ended with its process',
      ),
    workspace: z
      .object({
        repo: z.string(),
        commit: z.string().describe('HEAD when the turn had ended'),
        branch: z
          .string()
          .nullable()
          .describe('The branch with the commits of the session; null if none was pushed'),
        pull_request_url: z.string().nullable(),
        diff_stat: z
          .object({ files: count, insertions: count, deletions: count })
          .describe('The changes since the session began'),
        remade: z
          .boolean()
          .describe('Whether the checkout was lost with its disk and made again for this prompt'),
        problem: z
          .object({ code: z.string(), detail: z.string(), retryable: z.boolean() })
          .optional()
          .describe('Why the commits were not published; they are kept in the checkout'),
      })
      .optional()
      .describe('The checkout of the session, if it has one'),
    approvals: z
      .array(
        z.object({
          id: z.string(),
          tool_name: z.string(),
          tool_use_id: z.string(),
          decision: z.enum(['allow', 'deny']),
          decided_by: z.string().describe('The name of the token, `link` or `timeout`'),
          waited_ms: count,
        }),
      )
      .optional()
      .describe('The calls of tools that a person had to approve'),
    recycled: count.describe('How often the turn was carried on in a new process'),
    recycle_reason: z
      .enum(['memory', 'processes', 'crashed', 'hung'])
      .nullable()
      .describe('`processes`: its processes used nearly the whole pids limit of the container'),
    metadata: z.record(z.string(), z.string()).optional(),
  })
  .describe('An answer');

function header(name: string, description: string, schema: object = {}): object {
  return {
    name,
    in: 'header',
    required: false,
    description,
    schema: { type: 'string', ...schema },
  };
}

/** The texts of the route in the OpenAPI document, besides its schemas. */
export const promptDocumentation = {
  parameters: [
    header(
      'Idempotency-Key',
      'Quoted or bare. Within BERTH_IDEMPOTENCY_WINDOW the same key and body are answered as before, without running the prompt again; a restart forgets. For workflows that repeat requests.',
      { maxLength: 1024 },
    ),
    header(
      'traceparent',
      'W3C trace context; its trace id is in the log. A wrong one is ignored.',
      { examples: ['00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'] },
    ),
    header('Accept', '`text/event-stream` for a stream of events'),
    header('Prefer', '`respond-async`: make a job of the prompt, as `POST /v1/jobs` does'),
  ],
  examples: {
    question: { value: { prompt: 'Which skills do you have?' } },
    workflow: {
      value: {
        prompt: 'Review the change in /workspace/shop',
        timeout: '90s',
        metadata: { execution: '42' },
      },
    },
    picture: {
      value: {
        prompt: 'What does this picture show?',
        attachments: [{ name: 'chart.png', media_type: 'image/png', data: 'iVBORw0KGgo…' }],
      },
    },
  },
  answerHeaders: {
    'idempotency-replayed': {
      description: 'Present, and true, if this is the answer of an earlier request',
      schema: { const: 'true' },
    },
  },
  events: streamEvents,
  streamExample,
  isEitherJob: 'With `Prefer: respond-async`: the job, and its path as `Location`',
};
