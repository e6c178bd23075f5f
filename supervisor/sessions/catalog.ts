/**
 * The operations on sessions for their owners: list, show, interrupt, remove.
 * Invariants: a session of another token does not exist for the caller. A removal ends the
 * session's process first and removes its record last, so that an interrupted removal can be
 * repeated.
 */
import { BerthError, messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { SessionRecord } from './session-record.ts';
import { compareUse, type SessionStore } from './session-store.ts';
import type { Transcripts } from './transcripts.ts';
import type { WorkingDirectory, Workspaces } from './workspaces.ts';

/**
 * `busy`: a prompt runs or waits; `idle`: the session has a process; `stored`: only a transcript.
 */
export type SessionState = 'busy' | 'idle' | 'stored';

/** The part of the prompt runner that the catalog needs. */
export interface RunningSessions {
  stateOf(id: string): SessionState;
  /** Interrupts the running turn, if there is one. */
  interrupt(id: string, reason: BerthError): boolean;
  /**
   * Ends all running and waiting prompts of the session; its process has ended when this resolves.
   */
  endSession(id: string, reason: BerthError): Promise<void>;
}

export interface CatalogOptions {
  store: SessionStore;
  transcripts: Transcripts;
  workspaces: Workspaces;
  running: RunningSessions;
  /** Called when the files of a session are removed. */
  onRemoved?: (id: string) => void;
  log: Log;
}

export interface ListOptions {
  profile?: string | undefined;
  /** The maximum number of sessions. */
  limit: number;
  /** Returns the sessions after this cursor. */
  cursor?: string | undefined;
}

export interface SessionPage {
  sessions: SessionRecord[];
  /** The cursor of the next page; absent on the last page. */
  next: string | undefined;
}

/** Why a session is removed: by its owner, unused for too long, or because of the disk budget. */
export type RemovalReason = 'asked' | 'retention' | 'budget';

export class SessionCatalog {
  readonly #options: CatalogOptions;

  constructor(options: CatalogOptions) {
    this.#options = options;
  }

  /** A token's sessions, most recently used first; waits until all records are loaded. */
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
        'cannot finish the turn: the owner of the session interrupted it; send the next prompt to continue the session',
      ),
    );
  }

  /** @throws BerthError `session_not_found`, `volume_unwritable` */
  async delete(token: string, id: string): Promise<void> {
    await this.remove(await this.#owned(token, id, 'delete'), 'asked');
  }

  /**
   * Removes a session: its process, transcript, working directory and record.
   * @throws BerthError `volume_unwritable`; then the rest of the session still exists
   */
  async remove(record: SessionRecord, why: RemovalReason): Promise<void> {
    const { store, running, log } = this.#options;
    const { id } = record;
    // Other sessions may use its directory.
    await store.loaded;
    // From now on the session cannot be continued.
    store.hide(id);
    try {
      await running.endSession(id, removed(id));
      await this.#removeFiles(record);
    } catch (error) {
      store.show(record);
      if (error instanceof BerthError) throw error;
      throw new BerthError(
        'volume_unwritable',
        `cannot remove the session ${id}: ${messageOf(error)}; check the owner of that file`,
        { cause: error, details: { session_id: id } },
      );
    }
    log.info('session_removed', `removed the session ${id}: ${why}`, {
      session_id: id,
      reason: why,
    });
  }

  /**
   * Removes a session without content, because its process was lost before its first prompt was
   * written to the transcript. Never rejects: a session that cannot be removed stays, for its
   * owner and for retention.
   */
  async discard(id: string): Promise<void> {
    const { store, log } = this.#options;
    const record = store.peek(id);
    if (!record) return;
    store.hide(id);
    await this.#removeFiles(record).catch((error: unknown) => {
      store.show(record);
      log.warn('session_unrecorded', 'cannot remove a session without content', {
        session_id: id,
        error,
      });
    });
  }

  async #removeFiles({ id, working_directory: directory }: SessionRecord): Promise<void> {
    const { store, transcripts, workspaces, onRemoved } = this.#options;
    onRemoved?.(id);
    // `/clear` as a prompt begins a session that continues in the directory of the session before.
    const alone = directory.mode === 'session' && !(await this.#isUsed(directory));
    await transcripts.remove(id, alone);
    if (alone) await workspaces.remove(directory);
    await store.remove(id);
  }

  /** @throws Error of the system if the records cannot be read */
  async #isUsed(directory: WorkingDirectory): Promise<boolean> {
    const { store, workspaces } = this.#options;
    const path = workspaces.pathOf(directory);
    for await (const { working_directory } of store.complete ? [...store.records] : store.all()) {
      if (workspaces.pathOf(working_directory) === path) return true;
    }
    return false;
  }

  async #owned(token: string, id: string, what: string): Promise<SessionRecord> {
    const record = await this.#options.store.read(id);
    if (record?.token === token) return record;
    throw new BerthError(
      'session_not_found',
      `cannot ${what} the session ${id}: this token has no session with this id; GET /v1/sessions lists its sessions`,
    );
  }
}

function removed(id: string): BerthError {
  return new BerthError(
    'interrupted',
    `cannot finish the prompt: its session ${id} was removed; omit session_id to start a new session`,
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
    `cannot list the sessions: ${JSON.stringify(cursor.slice(0, 80))} is not a cursor; use "next" of the previous page`,
  );
}
