/** The schemas of `/v1/jobs`: bodies, queries and answers, and what the OpenAPI document adds to them. */
import { z } from 'zod';
import { endStates, type JobState, jobTransitions } from '../jobs/job.ts';
import { answerSchema, promptDocumentation, promptSchema } from './prompt-schema.ts';
import { streamEvents } from './stream-events.ts';

const states = Object.keys(jobTransitions) as [JobState];

/** Bounds of the metadata of a job, which lists return. */
export const mostKeys = 32;
const longestKey = 64;
const longestValue = 1_024;

const metadata = z
  .record(z.string(), z.string())
  .refine(
    (entries) =>
      Object.keys(entries).length <= mostKeys &&
      Object.entries(entries).every(
        ([key, value]) => key.length <= longestKey && value.length <= longestValue,
      ),
    {
      error: `expected at most ${mostKeys} keys of at most ${longestKey} characters, with texts of at most ${longestValue} characters; put large values into the prompt`,
    },
  );

/** The fields that only a job has. */
export const jobFields = {
  callback_url: z
    .string({ error: 'expected a URL' })
    .optional()
    .describe(
      'The URL that receives the ended job, by the Standard Webhooks specification; its host must be in BERTH_CALLBACK_HOSTS',
    ),
  not_before: z.iso
    .datetime({
      offset: true,
      error: 'expected a time of RFC 3339 such as "2026-01-31T22:00:00Z"',
    })
    .optional()
    .describe('The job begins at this time (RFC 3339); a time in the past means at once'),
  delay: z
    .string({ error: 'expected a duration such as "10m"' })
    .optional()
    .describe('The job begins after this time, such as "10m"; not together with not_before'),
  expires_in: z
    .string({ error: 'expected a duration such as "12h"' })
    .optional()
    .describe('Give up after this time from acceptance, such as "12h": the state `expired`'),
  priority: z
    .enum(['normal', 'background'])
    .optional()
    .describe(
      'background: behind all other jobs, and only within the share of the quota for background work; default normal',
    ),
  max_attempts: z
    .number()
    .int()
    .min(1)
    .max(20)
    .optional()
    .describe('Attempts that may fail, from 1 to 20; default 3'),
} as const;

const shape = promptSchema.shape;

export const jobSchema = z
  .strictObject({
    ...shape,
    ...jobFields,
    timeout: z
      .string({ error: 'expected a duration such as "30m"' })
      .optional()
      .describe(
        'The time limit of one run, without the wait for a worker, such as "30m"; at most BERTH_JOB_TIMEOUT',
      ),
    heartbeat: z
      .never({ error: 'a job has no connection to keep alive; omit it' })
      .optional()
      .describe('Not for jobs: a job has no connection to keep alive'),
    on_limit: z
      .literal('wait', { error: 'a job always waits for the end of a limit; omit it' })
      .optional()
      .describe('A job always waits for the end of a limit'),
    metadata: metadata
      .optional()
      .describe('For the caller: returned with the job and its result, and a filter of the list'),
  })
  .describe('A job: a prompt and when to run it');

export type JobBody = z.output<typeof jobSchema>;

/** The fields of a job, as `POST /v1/prompts` describes them. */
const fieldsWithPrefer = Object.fromEntries(
  Object.entries(jobFields).map(([name, schema]) => [
    name,
    schema.describe(`Only with \`Prefer: respond-async\`. ${schema.description}`),
  ]),
) as unknown as typeof jobFields;

/** The body of `POST /v1/prompts`: the fields of a job are for `Prefer: respond-async`. */
export const promptOrJobSchema = z
  .strictObject({ ...shape, ...fieldsWithPrefer })
  .describe('A prompt');

export type PromptOrJobBody = z.output<typeof promptOrJobSchema>;

const jobId = (error: string) =>
  z.string().regex(/^job_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, { error });

export const jobIdSchema = z.object({ id: jobId('expected the id of a job, as "job_019c..."') });

export const waitSchema = z.strictObject({
  wait: z
    .string()
    .optional()
    .describe(
      'Answer when the job has ended, or after this time at the latest, such as "60s"; above 5m counts as 5m',
    ),
});

export const eventsQuerySchema = z.strictObject({
  after: z
    .string()
    .optional()
    .describe('As the header Last-Event-ID, for clients that cannot send the header'),
});

/** `metadata.KEY=VALUE` filters too; unknown names are refused by the handler. */
export const jobsQuerySchema = z.looseObject({
  state: z
    .string()
    .refine((list) => list.split(',').every((state) => Object.hasOwn(jobTransitions, state)), {
      error: `expected states with commas between them: ${states.join(', ')}`,
    })
    .optional()
    .describe('Only jobs in these states, with commas between them'),
  profile: z.string().optional().describe('Only jobs of this profile'),
  limit: z.coerce.number().int().min(1).max(200).default(50),
  // Each store has cursors of its own shape, and refuses others.
  cursor: z.string().max(100).optional().describe('"next" of the page before'),
});

const time = z.string().describe('ISO time');

const summary = z.object({
  id: z.string(),
  state: z.enum(states),
  created_at: time,
  started_at: time.nullable(),
  ended_at: time.nullable(),
  not_before: time.nullable(),
  expires_at: time.nullable(),
  priority: z.enum(['normal', 'background']),
  profile: z.string(),
  session_id: z.string().nullable().describe('The session that the job continues or has begun'),
  metadata: z.record(z.string(), z.string()),
  attempts: z
    .array(
      z.object({
        started_at: time,
        ended_at: time.nullable(),
        outcome: z
          .string()
          .nullable()
          .describe('`succeeded`, or the code of the error; null while the attempt runs'),
      }),
    )
    .describe('A run that ended at a limit, with a drain or with a restart does not count'),
  parked: z
    .object({
      reason: z.string().describe('The code of the error that a prompt would have had'),
      until: time.nullable().describe('Until when at most; null if it is unknown'),
    })
    .nullable()
    .describe('Why the job waits, in the state `parked`'),
  notes: z.array(z.string()).describe('For people: for example that the session was lost'),
  callback: z
    .object({
      url: z.string().describe('Only the scheme and the host'),
      state: z
        .enum(['waiting', 'pending', 'delivered', 'failed'])
        .describe('waiting: the job has not ended; pending: is being delivered'),
      attempts: z.number().int(),
      last_status: z.number().nullable().describe('The HTTP status of the last request'),
      last_error: z.string().nullable(),
      delivered_at: time.nullable(),
    })
    .nullable(),
});

const error = z
  .looseObject({ code: z.string(), detail: z.string() })
  .describe('The problem object that a prompt would have been answered with');

export const jobViewSchema = summary
  .extend({
    result: answerSchema.optional().describe('The answer, in the state `succeeded`'),
    error: error
      .optional()
      .describe(`The failure, in the states ${endStates.slice(1).join(', ')} and between attempts`),
  })
  .describe('A job');

export const jobPageSchema = z
  .object({
    jobs: z.array(summary.extend({ error: error.optional() })),
    next: z.string().nullable().describe('The cursor of the next page; null on the last'),
  })
  .describe('Jobs without their results, the newest first');

export const removedSchema = z.null().describe('It is removed');

const header = (name: string, description: string) => ({
  ...{ name, in: 'header', required: false, description },
  schema: { type: 'string' },
});

const [, traceparent] = promptDocumentation.parameters;

/** The texts of `POST /v1/jobs` in the OpenAPI document, besides its schemas. */
export const jobDocumentation = {
  parameters: [
    header(
      'Idempotency-Key',
      'Quoted or bare. The same key and body are answered with the job of the first request, also after a restart, as long as berth keeps that job.',
    ),
    ...(traceparent ? [traceparent] : []),
  ],
  examples: {
    review: {
      value: {
        prompt: 'Review the change in /workspace/shop',
        expires_in: '12h',
        metadata: { execution: '42' },
      },
    },
    nightly: {
      value: {
        prompt: 'Update the documentation of /workspace/shop',
        not_before: '2026-01-31T22:00:00Z',
        priority: 'background',
      },
    },
  },
  answerHeaders: {
    location: { description: 'The path of the job', schema: { type: 'string' } },
    'idempotency-replayed': {
      description: 'Present, and true, if this is the job of an earlier request',
      schema: { const: 'true' },
    },
  },
};

const at = z.string().describe('ISO time of the event');
const position = z.number().int();

/** The events of a job: those of a prompt's stream, each with its time, and those of the job itself. */
const jobEvents: Readonly<Record<string, z.ZodType>> = {
  state: z
    .object({ at, state: z.enum(states), parked: z.unknown().optional() })
    .describe('The state of the job has changed; the last event has the state in which it ended'),
  missed: z
    .object({ from: position, to: position })
    .describe('The events with these ids are no longer kept; this event has no id'),
  ...Object.fromEntries(
    Object.entries(streamEvents)
      .filter(([name]) => name !== 'queued')
      .map(([name, schema]) => [
        name,
        (schema as z.ZodObject).extend({ at }).describe(schema.description ?? ''),
      ]),
  ),
};

/** The texts of `GET /v1/jobs/{id}/events`. */
export const jobEventsDocumentation = {
  parameters: [
    header(
      'Last-Event-ID',
      'The id of the last event that the client has: the stream begins after it. Absent: it begins with the oldest event.',
    ),
  ],
  events: jobEvents,
  streamExample: `id: 1
event: state
data: {"at":"2026-01-31T22:00:00.000Z","state":"running"}

id: 2
event: session
data: {"at":"2026-01-31T22:00:01.000Z","session_id":"0b8f…","model":"claude-sonnet-4-5","skills":[]}

id: 3
event: text
data: {"at":"2026-01-31T22:00:04.000Z","text":"Hello"}

: still here

id: 4
event: state
data: {"at":"2026-01-31T22:00:04.000Z","state":"succeeded"}

`,
};
