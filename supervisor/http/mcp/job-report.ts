/**
 * What the tools answer about one job: its state, its result or its error, and which call comes next.
 * Invariant: the report of a job that has not ended names the call that gets the result later.
 */
import { z } from 'zod';
import { endStates, isEnd, type Job, type JobState, jobTransitions } from '../../jobs/job.ts';
import { viewOf } from '../../jobs/job-view.ts';
import type { ToolAnswer } from './tool.ts';

const time = z.string().describe('ISO time');

/** Stored results may be of an earlier version of berth, so the report may have more fields. */
export const jobReportSchema = z.looseObject({
  job_id: z.string(),
  state: z.enum(Object.keys(jobTransitions) as [JobState]),
  done: z.boolean().describe(`Whether the job has ended: ${endStates.join(', ')}`),
  result: z.string().optional().describe('The answer, if the job has succeeded'),
  structured_output: z.unknown().optional().describe('Matches output_schema'),
  error: z
    .looseObject({ code: z.string(), detail: z.string() })
    .optional()
    .describe('Why the job failed, or why its last attempt failed'),
  session_id: z.string().nullable().describe('Send it with a next prompt to continue'),
  profile: z.string(),
  created_at: time,
  ended_at: time.nullable(),
  attempts: z.number().int(),
  parked: z
    .looseObject({ reason: z.string(), until: z.string().nullable() })
    .nullable()
    .describe('What the job waits for, in the state parked'),
  cost_usd: z.number().optional(),
  warnings: z.array(z.string()).optional(),
  notes: z.array(z.string()),
  metadata: z.record(z.string(), z.string()),
  next: z.string().optional().describe('What to call to get the result, if the job has not ended'),
});

export type JobReport = z.input<typeof jobReportSchema>;

export function reportOf(job: Job): JobReport {
  const { id: job_id, state, attempts, result, error, ...view } = viewOf(job);
  const { session_id, profile, created_at, ended_at, parked, notes, metadata } = view;
  const done = isEnd(job.state);
  return {
    ...{ job_id, state, done },
    ...(result && {
      result: result.result,
      ...('structured_output' in result ? { structured_output: result.structured_output } : {}),
      ...{ cost_usd: result.cost_usd, warnings: result.warnings },
    }),
    ...(error ? { error } : {}),
    ...{ session_id, profile, created_at, ended_at, attempts: attempts.length, parked, notes },
    metadata,
    ...(done ? {} : { next: hintOf(job) }),
  };
}

/** The answer of a tool about one job. @param failed whether a job that has failed is a failed call */
export function answerOf(
  job: Job,
  { failed = false } = {},
): ToolAnswer & { structured: JobReport } {
  const structured = reportOf(job);
  return {
    structured,
    text: textOf(structured),
    ...(failed && structured.done && job.state !== 'succeeded' ? { failed } : {}),
    ...(structured.done ? {} : { resultOf: job.id }),
  };
}

function textOf({ job_id, state, result, error, next, done }: JobReport): string {
  if (result !== undefined) return result;
  if (!done) return next ?? '';
  return `The job ${job_id} is ${state}${error ? `: ${error.detail} (${error.code})` : ''}`;
}

function hintOf({ id, state, parked, notBefore }: Job): string {
  const call = `call get_job with {"job_id":"${id}"}`;
  if (state === 'scheduled' && notBefore !== null) {
    return `The job begins at ${new Date(notBefore).toISOString()}. After that time ${call}.`;
  }
  if (parked) {
    const until =
      parked.until === null ? '' : `, until ${new Date(parked.until).toISOString()} at most`;
    return `The job waits because of ${parked.reason}${until}, and then continues without the client. Later ${call}.`;
  }
  return `The job is ${state} and continues without the client. To get the result, ${call}; the call waits for the end.`;
}
