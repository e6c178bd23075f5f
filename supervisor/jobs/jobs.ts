/**
 * What callers can do with jobs: accept, read, list, cancel, retry, remove. The API and `berth jobs` use it.
 * Invariants: a job is accepted only if its request can become a prompt now. An accepted job is durable when `accept`
 * returns. A job of another token does not exist for a caller.
 */
import { asBerthError, BerthError } from '../../shared/errors.ts';
import { formatDuration } from '../../shared/units.ts';
import type { Attachment } from '../attachments/attachment.ts';
import type { AttachmentStore } from '../attachments/attachment-store.ts';
import type { Prompt, PromptResolver } from '../prompts/prompt.ts';
import { become, isEnd, type Job, type JobPriority } from './job.ts';
import { closed } from './job-approvals.ts';
import { endAttempt } from './job-attempts.ts';
import { stateEvent } from './job-events.ts';
import { newJobId } from './job-id.ts';
import type { JobEvent, JobKey, JobPage, JobQuery, JobStore } from './job-store.ts';
import { promptRequestOf } from './prompt-of-job.ts';
import type { StoredRequest } from './stored-request.ts';

/** A job to be accepted. Times are milliseconds since 1970. */
export interface NewJob {
  /** The name of the caller's token. */
  token: string;
  /** The id of the token; undefined if it cannot be revoked. */
  tokenId: string | undefined;
  request: StoredRequest;
  priority?: JobPriority | undefined;
  metadata?: Record<string, string> | undefined;
  /** The most milliseconds of one run. */
  timeout?: number | undefined;
  maxAttempts?: number | undefined;
  notBefore?: number | undefined;
  expiresAt?: number | undefined;
  /** Was checked against the allowed hosts. */
  callbackUrl?: string | undefined;
  attachments?: readonly Attachment[] | undefined;
}

export interface JobsOptions {
  store: JobStore;
  promptResolver: Pick<PromptResolver, 'resolve'>;
  /** The longest and the default time of one run, in milliseconds. */
  timeout: number;
  /** Keeps the attachments of jobs; absent: a job cannot have attachments. */
  attachments?: Pick<AttachmentStore, 'save' | 'remove'> | undefined;
  onAccepted?: ((job: Job) => void) | undefined;
  /** Called when a job was cancelled: its prompt may be running here. */
  onCancelled: (id: string) => void;
  /** Milliseconds since 1970. */
  now?: () => number;
}

const defaultAttempts = 3;

export class Jobs {
  readonly #options: JobsOptions;
  readonly #now: () => number;

  constructor(options: JobsOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /**
   * Accepts a job durably.
   * @returns the job of an earlier request with the same key, if there is one
   * @throws BerthError as `PromptResolver.resolve`, `invalid_request`, `idempotency_mismatch`, `jobs_full`,
   *   `job_store_unavailable`
   */
  async accept(fields: NewJob, key?: JobKey): Promise<{ job: Job; created: boolean }> {
    const { promptResolver } = this.#options;
    const { tokenId = null, priority = 'normal', attachments = [] } = fields;
    const request = promptRequestOf({ ...fields, tokenId, priority });
    const prompt = await promptResolver.resolve({ ...request, attachments });
    const now = this.#now();
    const job = this.#jobOf(fields, prompt, now);
    const added =
      attachments.length > 0
        ? await this.#addWithFiles(job, attachments, key)
        : await this.#options.store.add(job, key);
    if (added.created) this.#options.onAccepted?.(added.job);
    return added;
  }

  /** The files are durable before the job is in the store. */
  async #addWithFiles(job: Job, attachments: readonly Attachment[], key?: JobKey) {
    const { attachments: files, store } = this.#options;
    if (!files) throw withoutFiles();
    const kept = await files.save(job.id, attachments);
    const request = { ...job.request, attachments: kept };
    const added = await store.add({ ...job, request }, key).catch(async (error: unknown) => {
      // A store that answers late may have the job. Files of no job are swept later.
      if (asBerthError(error).code !== 'job_store_unavailable') await files.remove(job.id);
      throw error;
    });
    if (!added.created) await files.remove(job.id);
    return added;
  }

  /**
   * The job that an earlier request with this key has made. Look for it before the request is checked: what the request
   * names may be gone since.
   * @throws BerthError `idempotency_mismatch`, `job_store_unavailable`
   */
  findByKey(token: string, key: JobKey): Promise<Job | undefined> {
    return this.#options.store.findByKey(token, key);
  }

  /** @param token undefined for a caller that may see all jobs. @throws BerthError `job_not_found` */
  async read(id: string, token: string | undefined): Promise<Job> {
    return owned(id, await this.#options.store.read(id), token);
  }

  /**
   * Reads the job without its request and its result, which may be large.
   * @throws BerthError `job_not_found`
   */
  async readHead(id: string, token: string | undefined): Promise<Job> {
    return owned(id, await this.#options.store.readHead(id), token);
  }

  list(query: JobQuery): Promise<JobPage> {
    return this.#options.store.list(query);
  }

  /**
   * Cancels a job that has not ended; a running prompt is interrupted.
   * @returns the cancelled job, also if it was cancelled before
   * @throws BerthError `job_not_found`; `job_ended` if it ended in another way
   */
  async cancel(id: string, token: string | undefined): Promise<Job> {
    await this.readHead(id, token);
    const now = this.#now();
    let changes = false;
    const stored = await this.#options.store.update(id, (job) => {
      changes = !isEnd(job.state);
      return changes ? become(job, 'cancelled', now, cancelled(job, now)) : undefined;
    });
    const job = owned(id, stored, token);
    if (job.state !== 'cancelled') throw endedError(job, 'cancel');
    if (changes) {
      this.#options.onCancelled(id);
      // The job is cancelled, also if the event cannot be stored.
      await this.#options.store.appendEvents(id, [stateEvent('cancelled', now)]).catch(() => {});
    }
    return job;
  }

  /**
   * Queues a failed job again, with all its attempts. The job continues its session.
   * @param tokenId of the caller, whose right the job has from now on; undefined keeps the earlier one
   * @throws BerthError `job_not_found`, `job_not_ended`; `job_ended` if it did not fail; `jobs_full`
   */
  async retry(id: string, token: string | undefined, tokenId?: string): Promise<Job> {
    const before = await this.readHead(id, token);
    if (!isEnd(before.state)) throw notEnded(before, 'retry');
    if (before.state !== 'failed') throw endedError(before, 'retry');
    const now = this.#now();
    const job = await this.#options.store.update(id, (job) =>
      job.state === 'failed'
        ? become(job, 'queued', now, { ...anew(job, now), ...(tokenId ? { tokenId } : {}) })
        : undefined,
    );
    return owned(id, job, token);
  }

  /** Removes a job that has ended. @throws BerthError `job_not_found`, `job_not_ended` */
  async remove(id: string, token: string | undefined): Promise<void> {
    const job = await this.readHead(id, token);
    if (await this.#options.store.remove(id)) return;
    throw notEnded(job, 'remove');
  }

  /**
   * The events of a job after that id, and its state, which is read first: if the job has ended, all its events are there,
   * or come soon.
   * @throws BerthError `job_not_found`
   */
  async events(
    id: string,
    after: number,
    token: string | undefined,
  ): Promise<Pick<Job, 'state' | 'endedAt'> & { events: JobEvent[] }> {
    const { state, endedAt } = await this.readHead(id, token);
    return { state, endedAt, events: await this.#options.store.events(id, after) };
  }

  /** Calls the listener when there may be a change, with the id of the job if known. @returns ends it */
  onChange(listener: (id?: string) => void): () => void {
    return this.#options.store.onChange(listener);
  }

  #jobOf(fields: NewJob, prompt: Prompt, now: number): Job {
    const { notBefore = null, expiresAt = null, callbackUrl } = fields;
    if (expiresAt !== null && expiresAt <= (notBefore ?? now)) {
      throw refused('expires_in', 'it ends before the job may begin', 'set a longer time');
    }
    return {
      id: newJobId(now),
      token: fields.token,
      tokenId: fields.tokenId ?? null,
      state: notBefore !== null && notBefore > now ? 'scheduled' : 'queued',
      request: fields.request,
      priority: fields.priority ?? 'normal',
      profile: prompt.profile.name,
      sessionId: prompt.record?.id ?? null,
      // A fork begins a session of its own, wherever the history is.
      ownSession: prompt.record !== undefined,
      promptId: null,
      metadata: fields.metadata ?? {},
      timeout: this.#timeoutOf(fields.timeout, prompt),
      maxAttempts: fields.maxAttempts ?? defaultAttempts,
      createdAt: now,
      startedAt: null,
      endedAt: null,
      notBefore,
      expiresAt,
      attempts: [],
      restarts: 0,
      parkings: 0,
      parked: null,
      dueAt: notBefore ?? now,
      owner: null,
      result: null,
      error: null,
      notes: [],
      callback: callbackUrl === undefined ? null : waitingCallback(callbackUrl),
    };
  }

  #timeoutOf(wanted: number | undefined, { profile }: Prompt): number {
    const most = Math.min(this.#options.timeout, profile.limits.timeout ?? Infinity);
    if (wanted === undefined || wanted <= most) return wanted ?? most;
    const setting =
      most < this.#options.timeout
        ? `profiles.${profile.name}.limits.timeout`
        : 'BERTH_JOB_TIMEOUT';
    const cause = `${formatDuration(wanted)} is above the limit of ${formatDuration(most)}`;
    throw refused('timeout', cause, `shorten it, or raise ${setting}`);
  }
}

function withoutFiles(): BerthError {
  return new BerthError(
    'invalid_request',
    'cannot use "attachments": jobs have no store of attachments here; send the files with POST /v1/prompts, or put them into the workspace',
    { details: { field: 'attachments' } },
  );
}

function waitingCallback(url: string): Job['callback'] {
  return {
    url,
    state: 'waiting',
    attempts: 0,
    lastStatus: null,
    lastError: null,
    deliveredAt: null,
    nextAt: null,
  };
}

function cancelled({ attempts }: Job, now: number): Partial<Job> {
  return { attempts: endAttempt(attempts, now, 'interrupted') };
}

/** What a job forgets that is run again by a person. */
function anew(job: Job, now: number): Partial<Job> {
  const { callback, expiresAt, approvals } = job;
  return {
    // Nobody answers the questions of the run before; the ids of new ones count on from them.
    ...(approvals && {
      approvals: approvals.map((each) => (each.used ? each : { ...closed(each, job), used: true })),
    }),
    attempts: [],
    restarts: 0,
    parkings: 0,
    // The prompt is sent again, in the session that it has.
    promptId: null,
    error: null,
    dueAt: now,
    expiresAt: expiresAt !== null && expiresAt <= now ? null : expiresAt,
    callback: callback && waitingCallback(callback.url),
  };
}

function owned(id: string, job: Job | undefined, token: string | undefined): Job {
  if (job && (token === undefined || job.token === token)) return job;
  throw new BerthError(
    'job_not_found',
    `cannot find the job ${id.slice(0, 64)}: this token has no job with this id; list its jobs with GET /v1/jobs`,
  );
}

function endedError({ id, state }: Job, what: string): BerthError {
  return new BerthError(
    'job_ended',
    `cannot ${what} ${id}: it is ${state}; only ${what === 'retry' ? 'a failed job can run again' : 'a job that has not ended can be cancelled'}`,
    { details: { job_id: id, state } },
  );
}

function notEnded({ id, state }: Job, what: string): BerthError {
  return new BerthError(
    'job_not_ended',
    `cannot ${what} ${id}: it is ${state}; wait for its end, or cancel it first`,
    { details: { job_id: id, state } },
  );
}

function refused(field: string, cause: string, remedy: string): BerthError {
  return new BerthError('invalid_request', `cannot accept ${field}: ${cause}; ${remedy}`, {
    details: { field },
  });
}
