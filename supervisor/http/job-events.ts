/**
 * The handler of `GET /v1/jobs/{id}/events`: the history of a job as server-sent events, then what follows.
 * Invariants: each event of the history has its id, so that a client resumes after any of them. The stream ends after
 * the last event of an ended job, which has the state of the end; a client that has all events of an ended job gets 204, which ends its reconnecting.
 */
import type { FastifyReply } from 'fastify';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { isEnd, type JobState } from '../jobs/job.ts';
import type { JobEvent } from '../jobs/job-store.ts';
import { callerGone } from './caller-gone.ts';
import { JobWatch } from './job-watch.ts';
import type { JobParts } from './jobs.ts';
import { EventStream } from './sse.ts';

interface EventsRequest {
  method: string;
  /** The name of the caller's token. */
  token: string;
  params: { id: string };
  query: { after?: string | undefined };
  headers: Readonly<Record<string, unknown>>;
}

/** Milliseconds: the last event of a job is stored just after the job's end, or cannot be stored. */
const lastEvents = 1_000;

/** @throws BerthError `job_not_found`, `invalid_request`, `job_store_unavailable` before the first event */
export async function sendJobEvents(
  { jobs, stopping, log }: JobParts,
  { method, token, params: { id }, query, headers }: EventsRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  let after = readEventId(headers['last-event-id'] ?? query.after);
  const over = AbortSignal.any([stopping, callerGone(reply)]);
  const watch = new JobWatch(jobs, id);
  let stream: EventStream | undefined;
  let endSeen = Infinity;
  try {
    for (;;) {
      const { state, endedAt, events } = await jobs.events(id, after, token);
      if (!stream && isEnd(state) && events.length === 0) return reply.code(204).send();
      if (method === 'HEAD') return reply.type('text/event-stream').send();
      stream ??= open(reply, token, log);
      after = await sendAll(stream, events, after, over);
      if (over.aborted) break;
      if (!isEnd(state)) {
        await watch.next(over);
        continue;
      }
      endSeen = Math.min(endSeen, performance.now());
      const isLate =
        performance.now() - endSeen > lastEvents || Date.now() - (endedAt ?? 0) > lastEvents;
      if (isLate || hasEnd(events, state)) break;
      await watch.next(AbortSignal.any([over, AbortSignal.timeout(lastEvents)]));
    }
  } catch (error) {
    // A stream that has begun ends here: the client connects again, and gets the error then.
    if (!stream) throw error;
  } finally {
    watch.close();
    stream?.end();
  }
  return reply;
}

/** @returns the id of the last event that was sent */
async function sendAll(
  stream: EventStream,
  events: readonly JobEvent[],
  after: number,
  over: AbortSignal,
): Promise<number> {
  let last = after;
  for (const { id, at, event, data } of events) {
    if (id > last + 1) stream.send('missed', { from: last + 1, to: id - 1 });
    stream.send(event, withTime(data, at), id);
    last = id;
    if (!(await stream.caughtUp(over))) break;
  }
  return last;
}

function hasEnd(events: readonly JobEvent[], state: JobState): boolean {
  const { event, data } = events.at(-1) ?? {};
  return event === 'state' && (data as { state?: unknown } | null)?.state === state;
}

function open(reply: FastifyReply, token: string, log: Log): EventStream {
  reply.hijack();
  return new EventStream(reply.raw, (backlog) => {
    log.warn('reader_cut', 'a client was cut off that does not read its stream', {
      token,
      backlog_bytes: backlog,
    });
  });
}

/** The data of an event with its time, since a client may read the event much later. */
function withTime(data: unknown, at: number): unknown {
  const time = new Date(at).toISOString();
  return typeof data === 'object' && data !== null && !Array.isArray(data)
    ? { at: time, ...data }
    : { at: time, data };
}

/** @throws BerthError `invalid_request` */
function readEventId(value: unknown): number {
  if (value === undefined || value === '') return 0;
  const id = /^\d{1,15}$/.test(String(value)) ? Number(value) : Number.NaN;
  if (Number.isSafeInteger(id)) return id;
  throw new BerthError(
    'invalid_request',
    'cannot resume the events: Last-Event-ID is not the id of an event of this job; send the last id that you received, or none',
    { details: { field: 'Last-Event-ID' } },
  );
}
