/**
 * The files of the session records: one small file for each session in berth's state on the volume.
 * Invariants: the files are untrusted (the CLI can write them), so they are parsed and bounded. An
 * id that is not a UUID never becomes a path. Only real directories are read from or written to. A
 * file of a newer version is never replaced, and an invalid file is set aside, not lost.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';
import {
  obstructedParent,
  readFileBounded,
  syncDirectory,
  unwritable,
  writeFileAtomic,
} from '../../shared/files.ts';
import { onlyWhile } from '../../shared/lease-holding.ts';
import type { Log } from '../../shared/log.ts';
import { type Aside, openAside } from '../../shared/set-aside.ts';
import { sessionsDirectory } from '../../shared/state-directory.ts';
import { isNewer, parseRecord, type SessionRecord } from './session-record.ts';

/** Bytes: the flags, the reports and the rest have less than half of it; earlier versions kept larger reports. */
const limit = 256 * 1024;

/** Created once: creating a schema costs a hundred times as much as using it. */
const uuid = z.uuid();

/** The key of a session, however its id is written; undefined if it is not a UUID. */
export function keyOf(id: string): string | undefined {
  return uuid.safeParse(id).success ? id.toLowerCase() : undefined;
}

export class SessionFiles {
  readonly #stateDirectory: string;
  readonly #sharedDirectory: string;
  readonly #log: Log;
  readonly #aside: Aside;

  constructor(stateDirectory: string, sharedDirectory: string, log: Log) {
    this.#stateDirectory = stateDirectory;
    this.#sharedDirectory = sharedDirectory;
    this.#log = log;
    this.#aside = openAside(join(stateDirectory, 'conflicts'), 'state');
  }

  /**
   * The keys of all files that may be records; undefined if there is no directory.
   * @throws Error of the system if the directory cannot be read: records may exist
   */
  async keys(): Promise<string[] | undefined> {
    const directory = join(this.#stateDirectory, sessionsDirectory);
    const names = await readdir(directory).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    });
    return names?.flatMap((name) => {
      if (!name.endsWith('.json')) return [];
      const key = keyOf(name.slice(0, -'.json'.length));
      // A file with a name that berth would write differently is not berth's.
      return key !== undefined && `${key}.json` === name ? [key] : [];
    });
  }

  /** Undefined if there is no readable record. An invalid file is set aside. */
  async read(key: string): Promise<SessionRecord | undefined> {
    let text: string | undefined;
    try {
      text = (await readFileBounded(await this.#path(key), limit))?.toString('utf8');
      if (text === undefined) return undefined;
      const record = parseRecord(text, this.#sharedDirectory);
      if (keyOf(record.id) !== key) throw new Error('it belongs to another session');
      return record;
    } catch (error) {
      // A file that the system refuses to read, or that a newer berth wrote, may be valid.
      const passes = error instanceof BerthError || systemCode(error) !== undefined;
      if (!passes && !isNewer(text ?? '')) await this.#setAside(key, error);
      return undefined;
    }
  }

  async #setAside(key: string, reason: unknown): Promise<void> {
    const relative = `${sessionsDirectory}/${key}.json`;
    try {
      const saved = await this.#aside.save(join(this.#stateDirectory, relative), relative);
      this.#log.warn(
        'session_unreadable',
        'a file that is not a valid session record was set aside',
        {
          session_id: key,
          saved,
          reason: messageOf(reason).slice(0, 500),
        },
      );
    } catch (error) {
      // Another reader was faster, or the volume is not writable: it is still not a session.
      if (systemCode(error) !== 'ENOENT') {
        const text = 'a file that is not a valid session record cannot be set aside';
        this.#log.warn('session_unreadable', text, { session_id: key, error });
      }
    }
  }

  /**
   * Durable when it resolves.
   * @param mayWrite called just before the file appears: whether the volume is still this program's
   * @throws BerthError `volume_unwritable`; `lease_held`; `internal` for a record that is too large to be read again
   */
  async write(key: string, record: SessionRecord, mayWrite: () => boolean): Promise<void> {
    const text = JSON.stringify(record);
    const path = await this.#path(key);
    if (Buffer.byteLength(text) > limit) {
      throw new BerthError(
        'internal',
        `cannot write ${path}: the record would have more than ${limit} bytes; report this fault`,
      );
    }
    await writeFileAtomic(path, text, { mode: 0o600, beforeRename: onlyWhile(mayWrite) });
  }

  /**
   * Call this before the first write of a session that was not read.
   * @throws BerthError `volume_unwritable` if a newer berth wrote that file, or the system refuses to
   * read it
   */
  async assertNotNewer(key: string): Promise<void> {
    const path = await this.#path(key);
    const content = await readFileBounded(path, limit).catch((error: unknown) => {
      if (systemCode(error) === undefined) return undefined;
      throw unwritable(path, error);
    });
    if (!content || !isNewer(content.toString('utf8'))) return;
    throw new BerthError(
      'volume_unwritable',
      `cannot write ${path}: a newer version of berth has written it; run that version again`,
    );
  }

  /** @throws BerthError `volume_unwritable` */
  async remove(key: string): Promise<void> {
    const path = await this.#path(key);
    try {
      await rm(path, { force: true });
      await syncDirectory(join(this.#stateDirectory, sessionsDirectory));
    } catch (error) {
      throw unwritable(path, error);
    }
  }

  /** @throws BerthError `volume_unwritable` if a part of the path is not a real directory */
  async #path(key: string): Promise<string> {
    const relative = `${sessionsDirectory}/${key}.json`;
    const path = join(this.#stateDirectory, relative);
    const obstacle = await obstructedParent(this.#stateDirectory, relative);
    if (obstacle === undefined) return path;
    throw new BerthError(
      'volume_unwritable',
      `cannot write ${path}: ${join(this.#stateDirectory, obstacle)} is not a directory; restart berth, which sets it aside`,
    );
  }
}
