/**
 * The sessions as those see them who own them: listed, shown, interrupted, removed.
 * Always holds: a session of another token is as good as not there; a removal ends the session's
 * process first and takes its record last, so that one that was cut short is simply done again.
 */
import { BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { SessionRecord } from './session-record.ts';
import { compareUse, type SessionStore } from './session-store.ts';
import type { Transcripts } from './transcripts.ts';
import type { WorkingDirectory, Workspaces } from './workspaces.ts';

/** `busy`: a prompt runs or waits; `idle`: a process is there for it; `stored`: a transcript alone. */
export type SessionState = 'busy' | 'idle' | 'stored';

/** What the catalog needs of those who run sessions. */
export interface RunningSessions {
  stateOf(id: string): SessionState;
  /** Interrupts the turn that runs, if one does. */
  interrupt(id: string, reason: BerthError): boolean;
  /** Ends all that runs or waits for the session; its process is gone when it resolves. */
  endSession(id: string, reason: BerthError): Promise<void>;
}

export interface CatalogOptions {
  store: SessionStore;
  transcripts: Transcripts;
  workspaces: Workspaces;
  running: RunningSessions;
  log: Log;
}

export interface ListOptions {
  profile?: string | undefined;
  /** At most so many. */
  limit: number;
  /** Those that come after the one that this names. */
  cursor?: string | undefined;
}

export interface SessionPage {
  sessions: SessionRecord[];
  /** For the next page; absent on the last. */
  next: string | undefined;
}

/** Why a session goes: asked by its owner, unused for too long, or for the disk's sake. */
export type RemovalReason = 'asked' | 'retention' | 'budget';

export class SessionCatalog {
  readonly #options: CatalogOptions;

  constructor(options: CatalogOptions) {
    this.#options = options;
  }

  /** A token's sessions, those first that were used last; waits until all are known. */
  async list(token: string, { profile, limit, cursor }: ListOptions): Promise<SessionPage> {
    const after = cursor === undefined ? undefined : readCursor(cursor);
    await this.#options.store.loaded;
    const own = [...this.#options.store.records].filter(
      (record) =>
        record.token === token &&
        (profile === undefined || record.profile === profile) &&
        (after === undefined || compareUse(after, record) < 0),
    );
    own.sort(compareUse);
    const sessions = own.slice(0, limit);
    const last = sessions.at(-1);
    return { sessions, next: own.length > limit && last ? cursorOf(last) : undefined };
  }

  /** @throws BerthError `session_not_found` */
  async show(token: string, id: string): Promise<{ record: SessionRecord; bytes: number }> {
    const record = await this.#owned(token, id, 'show');
    return { record, bytes: await this.#options.transcripts.sizeOf(record.id) };
  }

  stateOf(record: SessionRecord): SessionState {
    return this.#options.running.stateOf(record.id);
  }

  /**
   * @returns whether a turn was running
   * @throws BerthError `session_not_found`
   */
  async interrupt(token: string, id: string): Promise<boolean> {
    const record = await this.#owned(token, id, 'interrupt');
    return this.#options.running.interrupt(
      record.id,
      new BerthError(
        'interrupted',
        'cannot finish the turn: it was interrupted as its owner asked; send the next prompt to go on with the session',
      ),
    );
  }

  /** @throws BerthError `session_not_found`, `volume_unwritable` */
  async delete(token: string, id: string): Promise<void> {
    await this.remove(await this.#owned(token, id, 'delete'), 'asked');
  }

  /**
   * Removes a session: its process, transcript, working directory and record.
   * @throws BerthError `volume_unwritable`; the session is there as before then, or what is left of it
   */
  async remove(record: SessionRecord, why: RemovalReason): Promise<void> {
    const { store, running, log } = this.#options;
    const { id } = record;
    // Others may use its directory.
    await store.loaded;
    // From now on nobody can continue it.
    store.hide(id);
    try {
      await running.endSession(id, removed(id));
      await this.#removeFiles(record);
    } catch (error) {
      store.show(record);
      if (error instanceof BerthError) throw error;
      throw new BerthError(
        'volume_unwritable',
        `cannot remove the session ${id}: ${messageOf(error)}; see who owns that file`,
        { cause: error, details: { session_id: id } },
      );
    }
    log.info('session_removed', `removed the session ${id}: ${why}`, {
      session_id: id,
      reason: why,
    });
  }

  /**
   * Removes a session that came to nothing, because its process was lost before its first prompt was
   * written down. Never rejects: what stays of it is found by the retention.
   */
  async discard(id: string): Promise<void> {
    const { store, log } = this.#options;
    const record = store.peek(id);
    if (!record) return;
    store.hide(id);
    await this.#removeFiles(record).catch((error: unknown) => {
      log.warn('session_unrecorded', 'cannot remove a session that came to nothing', {
        session_id: id,
        error,
      });
    });
  }

  async #removeFiles({ id, working_directory: directory }: SessionRecord): Promise<void> {
    const { store, transcripts, workspaces } = this.#options;
    // `/clear` as a prompt begins a session that goes on in the directory of the one before.
    const alone = directory.mode === 'session' && !this.#isUsed(directory);
    await transcripts.remove(id, alone);
    if (alone) await workspaces.remove(directory);
    await store.remove(id);
  }

  #isUsed(directory: WorkingDirectory): boolean {
    const path = this.#options.workspaces.pathOf(directory);
    for (const { working_directory } of this.#options.store.records) {
      if (this.#options.workspaces.pathOf(working_directory) === path) return true;
    }
    return false;
  }

  async #owned(token: string, id: string, what: string): Promise<SessionRecord> {
    const record = await this.#options.store.read(id);
    if (record?.token === token) return record;
    throw new BerthError(
      'session_not_found',
      `cannot ${what} the session ${id}: there is none of this id that belongs to this token; GET /v1/sessions lists those that do`,
    );
  }
}

function removed(id: string): BerthError {
  return new BerthError(
    'interrupted',
    `cannot finish the prompt: its session ${id} was removed; leave session_id out to begin one`,
  );
}

type Place = Pick<SessionRecord, 'last_used_at' | 'id'>;

function cursorOf({ last_used_at, id }: Place): string {
  return Buffer.from(`${last_used_at} ${id}`).toString('base64url');
}

/** @throws BerthError `invalid_request` */
function readCursor(cursor: string): Place {
  const [last_used_at = '', id = ''] = Buffer.from(cursor, 'base64url').toString('utf8').split(' ');
  if (id !== '' && !Number.isNaN(Date.parse(last_used_at))) return { last_used_at, id };
  throw new BerthError(
    'invalid_request',
    `cannot list the sessions: ${JSON.stringify(cursor.slice(0, 80))} is no cursor; take "next" of the page before`,
  );
}
