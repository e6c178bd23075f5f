/**
 * Keeps the attachments of jobs on the volume until the jobs have ended: one directory for each job, with one file for
 * each attachment.
 * Invariants: those of `AttachmentStore`. Only numbers are names of files here, so a name
 * of a caller cannot reach another path.
 */
import { lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { BerthError, isUnread, systemCode } from '../../shared/errors.ts';
import {
  makeDirectories,
  readFileBounded,
  syncDirectory,
  unreadable,
  unwritable,
} from '../../shared/files.ts';
import { removeTree } from '../../shared/remove-tree.ts';
import { type Attachment, attachmentOf } from './attachment.ts';
import {
  type AttachmentStore,
  type KeptAttachment,
  keptOf,
  lostAttachment,
} from './attachment-store.ts';

const jobName = /^job_[\w-]{1,80}$/;
/** Milliseconds: a job that is being accepted has its files before it is in the store. */
const newest = 10 * 60_000;

export class KeptAttachments implements AttachmentStore {
  readonly #root: string;

  /** @param stateDirectory berth's state on the volume */
  constructor(stateDirectory: string) {
    this.#root = join(stateDirectory, 'attachments');
  }

  /** @throws BerthError `volume_unwritable`; nothing is left behind then */
  async save(job: string, attachments: readonly Attachment[]): Promise<KeptAttachment[]> {
    const directory = this.#directoryOf(job);
    try {
      await makeDirectories(directory, 0o700);
      if (!(await lstat(this.#root)).isDirectory()) throw new Error('it is a symlink');
      for (const [index, { data }] of attachments.entries()) {
        const file = await open(join(directory, String(index)), 'wx', 0o600);
        try {
          await file.writeFile(data);
          await file.sync();
        } finally {
          await file.close();
        }
      }
      await syncDirectory(directory);
      await syncDirectory(this.#root);
    } catch (error) {
      await this.remove(job);
      throw unwritable(directory, error);
    }
    return attachments.map(keptOf);
  }

  async load(job: string, kept: readonly KeptAttachment[]): Promise<Attachment[]> {
    const directory = this.#directoryOf(job);
    const load = async ({ name, media_type, bytes }: KeptAttachment, index: number) => {
      const path = join(directory, String(index));
      try {
        const data = await readFileBounded(path, bytes);
        if (data?.length !== bytes) throw new Error('the file is gone or was changed');
        return attachmentOf({ name, mediaType: media_type, data }, `attachments.${index}`);
      } catch (error) {
        if (isUnread(error)) throw unreadable(path, error, 'when the job runs again');
        throw lostAttachment(job, name, error);
      }
    };
    return Promise.all(kept.map(load));
  }

  async remove(job: string): Promise<void> {
    await removeTree(this.#directoryOf(job)).catch(() => undefined);
  }

  async sweep(isNeeded: (job: string) => Promise<boolean>, now = Date.now()): Promise<number> {
    let removed = 0;
    for (const job of await this.#jobs()) {
      const { mtimeMs } = await lstat(this.#directoryOf(job)).catch(() => ({ mtimeMs: now }));
      if (Math.abs(now - mtimeMs) < newest || (await isNeeded(job))) continue;
      await this.remove(job);
      removed += 1;
    }
    return removed;
  }

  async #jobs(): Promise<string[]> {
    try {
      return (await readdir(this.#root)).filter((name) => jobName.test(name));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return [];
      throw error;
    }
  }

  #directoryOf(job: string): string {
    if (!jobName.test(job)) throw new BerthError('internal', 'cannot keep files: no id of a job');
    return join(this.#root, job);
  }
}
