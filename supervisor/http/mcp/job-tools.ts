/**
 * The tools for prompts and jobs: ask, start_job, get_job, list_jobs, cancel_job.
 * Invariant: a prompt is accepted as a durable job before its tool waits for it. A client that goes away, a timeout of
 * the client and a restart of the server lose nothing.
 */
import { z } from 'zod';
import type { JobState } from '../../jobs/job.ts';
import { type JobBody, jobIdSchema, jobSchema, jobsQuerySchema } from '../job-schema.ts';
import { accept, cancel, readWait } from '../jobs.ts';
import { assertPromptSize } from '../prompt-size.ts';
import { followJob } from './follow-job.ts';
import { answerOf, jobReportSchema, reportOf } from './job-report.ts';
import { type McpParts, reads, type ToolCall, tool, works } from './tool.ts';

/** Below 60 s, after which clients of the official libraries give up. */
const usualWait = '45s';

const wait = z
  .string()
  .optional()
  .describe(
    `How long the call waits for the end of the job, such as "30s"; default "${usualWait}", at most "5m". Stay below the timeout of the client`,
  );

const idempotency_key = z
  .string()
  .optional()
  .describe(
    'For programs that repeat calls: the same key and arguments get the job of the first call',
  );

const { shape } = jobSchema;
const job_id = jobIdSchema.shape.id.describe('As "job_id" of ask or start_job');

const askSchema = z.strictObject({
  prompt: shape.prompt,
  session_id: shape.session_id,
  fork: shape.fork,
  profile: shape.profile.describe(
    'A name of list_profiles; absent: the default profile. A session keeps its profile',
  ),
  output_schema: shape.output_schema,
  attachments: shape.attachments,
  ...{ wait, idempotency_key },
});

const { heartbeat: _, on_limit: __, ...fields } = shape;
const startSchema = z.strictObject({ ...fields, idempotency_key });

const listSchema = z.strictObject({
  state: jobsQuerySchema.shape.state,
  profile: jobsQuerySchema.shape.profile,
  limit: z.number().int().min(1).max(200).optional().describe('Default 20'),
  cursor: jobsQuerySchema.shape.cursor,
});

export const ask = tool({
  name: 'ask',
  title: 'Ask Claude Code',
  description:
    'Run a prompt with Claude Code and return its answer. With "session_id" of an earlier answer the conversation continues. If the answer takes longer than "wait", the prompt continues as a job: the answer then has done: false, and "next" names the call that gets the result.',
  input: askSchema,
  output: jobReportSchema,
  hints: works,
  run: async (parts, { wait, ...input }, call) => {
    const patience = readWait(wait ?? usualWait);
    const job = await begin(parts, input, call);
    return answerOf(await followJob(parts, job.id, patience, call), { failed: true });
  },
});

export const startJob = tool({
  name: 'start_job',
  title: 'Start a job',
  description:
    'Start a prompt as a job and return at once with its job_id. For long work, for work that begins later (not_before, delay), and for work that need not be watched. Get the result with get_job.',
  input: startSchema,
  output: jobReportSchema,
  hints: works,
  run: async (parts, input, call) => answerOf(await begin(parts, input, call)),
});

export const getJob = tool({
  name: 'get_job',
  title: 'Get a job and its result',
  description:
    'Return the state of a job, and its result if the job has ended. If the job has not ended, the call waits for the end, "wait" at most.',
  input: z.strictObject({ job_id, wait }),
  output: jobReportSchema,
  hints: reads,
  run: async (parts, { job_id, wait }, call) =>
    answerOf(await followJob(parts, job_id, readWait(wait ?? usualWait), call)),
});

export const listJobs = tool({
  name: 'list_jobs',
  title: 'List jobs',
  description:
    'List the jobs of this caller, the newest first, without their results. Use it to find a job whose job_id was lost.',
  input: listSchema,
  output: z.looseObject({
    jobs: z.array(jobReportSchema),
    next_cursor: z.string().nullable().describe('The cursor of the next page; null on the last'),
  }),
  hints: reads,
  run: async ({ jobs }, { state, profile, limit = 20, cursor }, { caller: { token } }) => {
    const states = state === undefined ? undefined : (state.split(',') as JobState[]);
    const page = await jobs.list({ token, states, profile, limit, cursor });
    return { structured: { jobs: page.jobs.map(reportOf), next_cursor: page.cursor } };
  },
});

export const cancelJob = tool({
  name: 'cancel_job',
  title: 'Cancel a job',
  description: 'Cancel a job that has not ended. Its running prompt is interrupted.',
  input: z.strictObject({ job_id }),
  output: jobReportSchema,
  hints: { readOnlyHint: false, destructiveHint: true, idempotentHint: true },
  run: async (parts, { job_id }, { caller: { token } }) =>
    answerOf(await cancel(parts, job_id, token)),
});

/** @throws BerthError as `accept` */
async function begin(
  parts: McpParts,
  { idempotency_key, ...body }: JobBody & { idempotency_key?: string | undefined },
  { caller }: ToolCall,
) {
  assertPromptSize(body, Infinity, parts);
  const headers = { ...caller.headers, 'idempotency-key': idempotency_key };
  return (await accept(parts, body, { ...caller, headers })).job;
}
