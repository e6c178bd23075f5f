/**
 * Keeps the attachments of jobs in Redis until the jobs have ended, so that every replica can run the jobs.
 * Invariants: those of `AttachmentStore`. The files of a job are written in one step, and expire by themselves until the job
 * is in the store: its `add` makes them stay. All files together have at most `most` bytes.
 */
import { BerthError } from '../../../shared/errors.ts';
import { type Attachment, attachmentOf } from '../../attachments/attachment.ts';
import {
  type AttachmentStore,
  type KeptAttachment,
  keptOf,
  lostAttachment,
} from '../../attachments/attachment-store.ts';
import type { RedisConnection } from './connection.ts';
import type { Keys } from './keys.ts';
import { withoutFiles } from './record.ts';
import { keepFiles } from './scripts.ts';

/** Milliseconds for which files stay without a job: a job that is being accepted. */
const accepting = 10 * 60_000;
/** Milliseconds of one command with all files of a job. */
const deadline = 20_000;

export class RedisAttachments implements AttachmentStore {
  readonly #connection: RedisConnection;
  readonly #keys: Keys;
  readonly #most: number;

  /** @param most bytes of the files of all jobs together */
  constructor(connection: RedisConnection, keys: Keys, most: number) {
    this.#connection = connection;
    this.#keys = keys;
    this.#most = most;
  }

  /**
   * @throws BerthError `payload_too_large` for more bytes than there may be in all, `jobs_full` while the files of other
   *   jobs take the room, `job_store_unavailable`
   */
  async save(job: string, attachments: readonly Attachment[]): Promise<KeptAttachment[]> {
    const bytes = attachments.reduce((sum, { data }) => sum + data.length, 0);
    if (bytes > this.#most) throw tooLarge(bytes, this.#most);
    this.#connection.requireRoom('keep the attachments');
    const { files, filesOf } = this.#keys;
    const words = [filesOf(job), files, job, bytes, this.#most, accepting, filesOf('')];
    const contents = attachments.flatMap(({ data }, index) => [index, data]);
    const used = await this.#connection.run(
      'keep the attachments',
      (client) => client.eval(keepFiles, 0, ...words, ...contents) as Promise<number>,
      deadline,
    );
    if (used >= 0) throw noRoom(bytes, used, this.#most);
    return attachments.map(keptOf);
  }

  async load(job: string, kept: readonly KeptAttachment[]): Promise<Attachment[]> {
    const key = this.#keys.filesOf(job);
    // Tools can reach the server: what is there may be larger than what was kept.
    const sizes = await this.#connection.run('read the attachments', (client) =>
      Promise.all(kept.map((_, index) => client.hstrlen(key, String(index)))),
    );
    const changed = kept.find(({ bytes }, index) => sizes[index] !== bytes);
    if (changed) throw lostAttachment(job, changed.name, 'the file is gone or was changed');
    const contents = await this.#connection.run(
      'read the attachments',
      (client) => client.hmgetBuffer(key, ...kept.keys().map(String)),
      deadline,
    );
    return kept.map(({ name, media_type: mediaType, bytes }, index) => {
      const data = contents[index];
      try {
        if (data?.length !== bytes) throw new Error('the file is gone or was changed');
        return attachmentOf({ name, mediaType, data }, `attachments.${index}`);
      } catch (error) {
        throw lostAttachment(job, name, error);
      }
    });
  }

  async remove(job: string): Promise<void> {
    const work = this.#connection.run('remove attachments', async (client) => {
      const commands = client.multi();
      for (const [name, ...words] of withoutFiles(this.#keys, job))
        commands.call(String(name), words);
      await commands.exec();
    });
    await work.catch(() => undefined);
  }

  async sweep(isNeeded: (job: string) => Promise<boolean>): Promise<number> {
    const { files, filesOf } = this.#keys;
    const jobs = await this.#connection.run('sweep attachments', (client) => client.hkeys(files));
    let removed = 0;
    for (const job of jobs) {
      const left = await this.#connection.run('sweep attachments', (client) =>
        client.pttl(filesOf(job)),
      );
      if (left >= 0 || (await isNeeded(job))) continue;
      await this.remove(job);
      removed += 1;
    }
    return removed;
  }
}

function tooLarge(bytes: number, most: number): BerthError {
  return new BerthError(
    'payload_too_large',
    `cannot use "attachments": they have ${bytes} bytes together, and Redis may keep ${most} of all jobs; send smaller files, or raise BERTH_REDIS_ATTACHMENT_SIZE`,
    { details: { field: 'attachments' } },
  );
}

function noRoom(bytes: number, used: number, most: number): BerthError {
  return new BerthError(
    'jobs_full',
    `cannot accept the job: the attachments of other jobs have ${used} of the ${most} bytes that Redis may keep, and those of this job ${bytes}; retry when some jobs have ended, remove failed jobs that nobody retries, or raise BERTH_REDIS_ATTACHMENT_SIZE`,
    { details: { retry_after: 60 } },
  );
}
