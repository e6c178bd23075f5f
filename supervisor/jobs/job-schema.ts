/**
 * The schema of a job as a store keeps it. What is read from a store is checked: the tools of the CLI can write the
 * volume.
 * Invariants: the schema accepts every job that berth writes; the compiler compares its fields with those of the type.
 * Fields of a later berth are kept: a job must survive a return to an earlier one.
 */
import { z } from 'zod';
import { type Approval, type ApprovalDecision, mostApprovals } from '../approvals/approval.ts';
import { mostLinks } from '../approvals/links.ts';
import type { Callback, Job, JobAttempt, JobState, Parked } from './job.ts';
import { anyRequestSchema, storedRequestSchema } from './stored-request.ts';

const time = z.number();
const timeOrNull = time.nullable();
const name = z.string().max(1_024);

const states = [
  ...(['scheduled', 'queued', 'running', 'parked'] as const),
  ...(['succeeded', 'failed', 'cancelled', 'expired'] as const),
] satisfies JobState[];

/** The schema of an object of which each field, also an optional one, must have a schema here. */
const shapeOf = <T extends object>() => {
  return <S extends { [K in keyof Required<T>]: z.ZodType }>(shape: S) => z.looseObject(shape);
};

const attempt = shapeOf<JobAttempt>()({
  startedAt: time,
  endedAt: timeOrNull,
  outcome: z.string().nullable(),
});

const callback = shapeOf<Callback>()({
  url: z.string(),
  state: z.enum(['waiting', 'pending', 'delivered', 'failed']),
  attempts: z.number(),
  refused: z.number().optional(),
  conflicts: z.number().optional(),
  lastStatus: z.number().nullable(),
  lastError: z.string().nullable(),
  deliveredAt: timeOrNull,
  nextAt: timeOrNull,
});

const input = z.record(z.string(), z.unknown());

const decision = shapeOf<ApprovalDecision>()({
  kind: z.enum(['allow', 'deny']),
  via: z.enum(['token', 'link', 'timeout', 'end']),
  by: name.nullable(),
  at: time,
  message: z.string().nullable(),
  updatedInput: input.nullable(),
});

const approval = shapeOf<Approval>()({
  id: name,
  tool: name,
  input,
  toolUseId: name,
  description: z.string().nullable(),
  askedAt: time,
  expiresAt: time,
  decision: decision.nullable(),
  used: z.boolean(),
  links: z.array(z.string().max(64)).max(mostLinks),
  notified: z.boolean(),
  left: z.boolean().optional(),
});

/** A job without its request and its result, which stores keep apart: lists read neither. */
export type JobHead = Omit<Job, 'request' | 'result'>;

const jobHeadSchema: z.ZodType<JobHead> = shapeOf<JobHead>()({
  id: z.string().regex(/^job_[\w-]{1,80}$/),
  token: name,
  tokenId: name.nullable(),
  state: z.enum(states),
  priority: z.enum(['normal', 'background']),
  profile: name,
  sessionId: name.nullable(),
  ownSession: z.boolean(),
  promptId: name.nullable(),
  metadata: z.record(z.string(), z.string()),
  timeout: z.number(),
  maxAttempts: z.number(),
  createdAt: time,
  startedAt: timeOrNull,
  endedAt: timeOrNull,
  notBefore: timeOrNull,
  expiresAt: timeOrNull,
  attempts: z.array(attempt),
  restarts: z.number().default(0),
  parkings: z.number().default(0),
  parked: shapeOf<Parked>()({
    ...{ reason: name, until: timeOrNull, holder: name.optional() },
  }).nullable(),
  dueAt: time,
  owner: name.nullable(),
  claim: name.optional(),
  error: z.looseObject({ code: z.string(), detail: z.string() }).nullable(),
  notes: z.array(z.string()),
  callback: callback.nullable(),
  approvals: z.array(approval).max(mostApprovals).optional(),
});

const resultSchema = z.looseObject({
  id: z.string(),
  session_id: z.string(),
  profile: z.string(),
  result: z.string(),
  is_error: z.boolean(),
});

/** The job without its request and its result, as JSON. */
export function headText({ request: _request, result: _result, ...head }: Job): string {
  return JSON.stringify(head);
}

/** @throws Error if the text is not that of a job */
export function parseHead(text: string): JobHead {
  return jobHeadSchema.parse(JSON.parse(text));
}

/** The request; that of a later berth as it is. @throws Error if the text is not that of a request */
export function parseRequest(text: string): Job['request'] {
  const value: unknown = JSON.parse(text);
  const { data } = storedRequestSchema.safeParse(value);
  return data ?? (anyRequestSchema.parse(value) as Job['request']);
}

/** @throws Error if the text is not that of a result */
export function parseResult(text: string): Job['result'] {
  return resultSchema.parse(JSON.parse(text)) as unknown as Job['result'];
}
