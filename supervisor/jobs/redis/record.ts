/**
 * A job in Redis: a hash with the job, its request and its result, and its place in the sorted sets by which it is found.
 * Invariants: the hash and the sets change in one step. The hash has a revision, which grows with each change. Lists read
 * neither request nor result.
 */
import { blockingStates, callbackDueAt } from '../due.ts';
import { isEnd, type Job } from '../job.ts';
import { headText, parseHead, parseRequest, parseResult } from '../job-schema.ts';
import { flawOf, StoredFlaw } from '../stored-flaw.ts';
import type { Keys } from './keys.ts';

/** A command of Redis, or of the scripts. */
export type Command = readonly (string | number)[];

export interface Stored {
  job: Job;
  revision: string;
  /** Why the request of the job cannot be read. */
  flaw?: string;
}

/** The fields of the hash, in the order in which `parse` takes them. */
export const wholeFields = ['rev', 'job', 'request', 'result'] as const;
export const listFields = ['rev', 'job'] as const;

/**
 * Reads the fields of a hash. A result that cannot be read is left out, with a note.
 * @param fields in the order of `wholeFields` or `listFields`
 * @throws Error if the hash is not that of this job; see `flawOf`
 */
export function parse(id: string, fields: readonly (string | null)[]): Stored {
  const [revision, text, request, result] = fields;
  if (!revision || !text) throw new StoredFlaw('its record is not complete');
  const head = parseHead(text);
  if (head.id !== id) throw new StoredFlaw('its record is that of another job');
  const job: Job = { ...head, request: { prompt: '' }, result: null };
  let flaw: string | undefined;
  try {
    if (request !== undefined) job.request = parseRequest(request ?? '');
  } catch (error) {
    flaw = `its request cannot be read: ${flawOf(error)}`;
  }
  try {
    if (result) job.result = parseResult(result);
  } catch (error) {
    job.notes = [...job.notes, `the result was lost: ${flawOf(error)}`];
  }
  return { revision, job, ...(flaw === undefined ? {} : { flaw }) };
}

/** The commands that put a job into the store in place of `before`. @param key that of its idempotency key */
export function replace(keys: Keys, before: Stored | undefined, job: Job, key?: string): Command[] {
  const { request, result } = job;
  const old = before?.job;
  const fields: (string | number)[] = [
    'rev',
    Number(before?.revision ?? 0) + 1,
    'due',
    dueScore(job),
  ];
  fields.push('job', headText(job));
  // Copies, with which a job is set aside that cannot be read.
  fields.push('token', job.token, 'session', job.sessionId ?? '');
  fields.push('reason', job.parked?.reason ?? '', 'bytes', endedBytes(job));
  if (key !== undefined) fields.push('key', key);
  if (!old || old.request !== request) fields.push('request', JSON.stringify(request));
  const own = keys.job(job.id);
  const commands: Command[] = [];
  if (result === null) {
    if (old?.result) commands.push(['HDEL', own, 'result']);
  } else if (old?.result !== result) {
    fields.push('result', JSON.stringify(result));
  }
  return [
    ['HSET', own, ...fields],
    ...commands,
    ...moves(keys, old, job),
    ...(isEnd(job.state) || (old && isEnd(old.state))
      ? [['COUNT', own, keys.endedBytes, endedBytes(old)]]
      : []),
    ...(old && needsFiles(old) && !needsFiles(job) ? withoutFiles(keys, job.id) : []),
    ['PUBLISH', keys.changes, job.id],
  ];
}

/** The commands that make the attachments of a job stay. */
export function withFiles(keys: Keys, job: string): Command[] {
  return [['PERSIST', keys.filesOf(job)]];
}

/** The commands that remove the attachments of a job. */
export function withoutFiles(keys: Keys, job: string): Command[] {
  return [
    ['DEL', keys.filesOf(job)],
    ['HDEL', keys.files, job],
  ];
}

/** A failed job can be retried. */
function needsFiles({ request, state }: Job): boolean {
  return request.attachments !== undefined && (!isEnd(state) || state === 'failed');
}

/** The commands that remove a job. @param key that of its idempotency key, if it has one */
export function erase(keys: Keys, { job }: Stored, key: string | null): Command[] {
  return [
    ['UNCOUNT', keys.job(job.id), keys.endedBytes],
    ['DEL', keys.job(job.id), keys.events(job.id), ...(key ? [key] : [])],
    ...(job.request.attachments ? withoutFiles(keys, job.id) : []),
    ...moves(keys, job, undefined),
    ['PUBLISH', keys.changes, job.id],
  ];
}

/** The commands that move a job from its places as `old` to those as `job`. */
function moves(keys: Keys, old: Job | undefined, job: Job | undefined): Command[] {
  const id = (job ?? old)?.id ?? '';
  const from = placesOf(keys, old);
  const to = placesOf(keys, job);
  const commands: Command[] = [];
  for (const key of from.keys()) if (!to.has(key)) commands.push(['ZREM', key, id]);
  for (const [key, score] of to) {
    if (from.get(key) !== score) commands.push(['ZADD', key, score, id]);
  }
  const session = old?.sessionId ? keys.session(old.sessionId) : undefined;
  // The job is not the first of its session any more.
  if (session && from.has(session) && from.get(session) !== to.get(session)) {
    commands.push(['WAKE', session, keys.due, keys.jobs, keys.queued]);
  }
  if (job?.sessionId) commands.push(['SADD', keys.ofSession(job.sessionId), id]);
  if (old?.sessionId && old.sessionId !== job?.sessionId) {
    commands.push(['LEAVE', keys.ofSession(old.sessionId), id, keys.homes, old.sessionId]);
  }
  if (old?.parked?.reason !== job?.parked?.reason) {
    if (old?.parked) commands.push(['HINCRBY', keys.reasons, old.parked.reason, -1]);
    if (job?.parked) commands.push(['HINCRBY', keys.reasons, job.parked.reason, 1]);
  }
  return [...commands, ...dueness(keys, old, job)];
}

/**
 * A queued job becomes due when its state or its time has changed. Later it is taken out of the due ones when it has its
 * entry in a queue, so its place there follows from more than the job.
 */
function dueness(keys: Keys, old: Job | undefined, job: Job | undefined): Command[] {
  if (job?.state !== 'queued') return old?.state === 'queued' ? [['ZREM', keys.due, old.id]] : [];
  const same = old?.state === 'queued' && old.dueAt === job.dueAt;
  return same ? [] : [['ZADD', keys.due, dueScore(job), job.id]];
}

/** A job that nobody delayed is due whatever the clock shows. */
function dueScore({ dueAt, createdAt }: Job): number {
  return dueAt <= createdAt ? 0 : dueAt;
}

/** The sorted sets that have the job, with its score. */
function placesOf(keys: Keys, job: Job | undefined): Map<string, number> {
  const places = new Map<string, number>();
  if (!job) return places;
  places.set(keys.all, 0);
  places.set(keys.token(job.token), 0);
  places.set(keys.state(job.state), 0);
  if (job.parked) places.set(keys.parkedFor(job.parked.reason), 0);
  if (!isEnd(job.state)) places.set(keys.unfinished(job.token), 0);
  if (job.state === 'queued') places.set(keys.queued, job.dueAt);
  if (job.state === 'scheduled' || job.state === 'parked') places.set(keys.later, job.dueAt);
  const waits = job.state !== 'running' && !isEnd(job.state);
  if (waits && job.expiresAt !== null) places.set(keys.expiry, job.expiresAt);
  if (isEnd(job.state)) places.set(keys.ended, job.endedAt ?? job.createdAt);
  if (job.sessionId !== null && blockingStates.includes(job.state)) {
    // The job that runs is the first, also before an earlier one that is run again by a person.
    places.set(keys.session(job.sessionId), job.state === 'running' ? -1 : 0);
  }
  const callback = callbackDueAt(job);
  if (callback !== undefined) {
    places.set(keys.callbacks, callback);
    places.set(keys.callbacksSince, job.endedAt ?? job.createdAt);
  }
  return places;
}

/** Without its events, which the record counts. */
function endedBytes(job: Job | undefined): number {
  if (!job || !isEnd(job.state)) return 0;
  return Buffer.byteLength(JSON.stringify(job));
}
