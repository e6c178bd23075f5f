/**
 * The contract of what keeps the attachments of jobs until the jobs have ended. There are two stores: the volume
 * (kept.ts), for one replica, and Redis (jobs/redis/attachments.ts), for several.
 * test/supervisor/attachments/store-contract.ts runs the same tests on both.
 * Invariants of every store: when `save` has returned, all files of the job are durable; if `save` rejects, or the process
 * dies before the job is accepted, no file stays for good. What is read is bounded and checked again, since others can
 * write to the store.
 */
import { BerthError, messageOf } from '../../shared/errors.ts';
import type { Attachment } from './attachment.ts';

/** What the stored request of a job has about an attachment. */
export interface KeptAttachment {
  name: string;
  media_type: string;
  bytes: number;
}

export interface AttachmentStore {
  /** Keeps the files of a job that is not accepted yet. */
  save(job: string, attachments: readonly Attachment[]): Promise<KeptAttachment[]>;
  /**
   * @param kept what `save` has returned
   * @throws BerthError `invalid_request` if a file is gone or was changed; `volume_unwritable` or
   *   `job_store_unavailable` if it cannot be read just now
   */
  load(job: string, kept: readonly KeptAttachment[]): Promise<Attachment[]>;
  /** Never rejects: the next sweep tries again. */
  remove(job: string): Promise<void>;
  /**
   * Removes the files of jobs that do not need them any more, and leaves those of jobs that are being accepted. A failed
   * job may be retried, so it needs its files.
   * @param isNeeded whether the job exists and has not ended, or may be retried
   * @param now milliseconds since 1970
   * @returns the number of jobs whose files were removed
   */
  sweep(isNeeded: (job: string) => Promise<boolean>, now?: number): Promise<number>;
}

export function keptOf({ name, mediaType, data }: Attachment): KeptAttachment {
  return { name, media_type: mediaType, bytes: data.length };
}

/** The error for a file of a job that is gone or was changed. */
export function lostAttachment(job: string, name: string, cause: unknown): BerthError {
  return new BerthError(
    'invalid_request',
    `cannot run ${job}: its attachment ${JSON.stringify(name)} cannot be read (${messageOf(cause)}); send a new job`,
    { details: { field: 'attachments' } },
  );
}
