/**
 * Who owns which session: one small file each in berth's state, so that a session outlives the
 * process that served it. The conversation itself is the CLI's own transcript.
 * Always holds: the files are untrusted (the CLI can write them), so they are parsed and bounded,
 * and an id that is no UUID never becomes a path; ids that differ in case alone are the same; what is
 * no real directory is never read from or written to; a read sees the newest write, durable or not yet.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { BerthError } from '../../shared/errors.ts';
import { obstructedParent, readFileBounded, writeFileAtomic } from '../../shared/files.ts';
import { sessionsDirectory } from '../../shared/state-directory.ts';

const record = z.object({
  version: z.literal(1),
  id: z.uuid(),
  /** The name of the token that began the session: nobody else may continue it. */
  token: z.string(),
  created_at: z.string(),
  last_used_at: z.string(),
  turns: z.number(),
  cost_usd: z.number(),
});

export type SessionRecord = z.infer<typeof record>;

const limit = 16 * 1024;

export class SessionStore {
  readonly #stateDirectory: string;
  /** Writes under way, the newest for each session. */
  readonly #writes = new Map<string, { record: SessionRecord; done: Promise<void> }>();

  /** @param stateDirectory berth's state on the volume */
  constructor(stateDirectory: string) {
    this.#stateDirectory = stateDirectory;
  }

  /** Undefined if there is none, or none that can be read. Its `id` is written as the CLI wrote it. */
  async read(id: string): Promise<SessionRecord | undefined> {
    const key = keyOf(id);
    if (key === undefined) return undefined;
    const underWay = this.#writes.get(key);
    if (underWay) return underWay.record;
    try {
      const content = await readFileBounded(await this.#path(key), limit);
      const parsed = content && record.parse(JSON.parse(content.toString('utf8')));
      return parsed && keyOf(parsed.id) === key ? parsed : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * Resolves when the record is durable; writes of one session happen in order.
   * @throws BerthError `volume_unwritable`; `internal` if the id is no UUID
   */
  async write(session: SessionRecord): Promise<void> {
    const key = keyOf(session.id);
    if (key === undefined) {
      throw new BerthError(
        'internal',
        `cannot record the session ${JSON.stringify(session.id.slice(0, 64))}: its id is no UUID; see which version of the CLI runs`,
      );
    }
    const before = this.#writes.get(key)?.done.catch(() => undefined) ?? Promise.resolve();
    const done = before
      .then(() => this.#path(key))
      .then((path) => writeFileAtomic(path, JSON.stringify(session), { mode: 0o600 }))
      .finally(() => {
        if (this.#writes.get(key)?.record === session) this.#writes.delete(key);
      });
    this.#writes.set(key, { record: session, done });
    return done;
  }

  /** Resolves when no write is under way. */
  async flush(): Promise<void> {
    await Promise.allSettled([...this.#writes.values()].map(({ done }) => done));
  }

  /** @throws BerthError `volume_unwritable` if it would lead through what is no real directory */
  async #path(key: string): Promise<string> {
    const relative = `${sessionsDirectory}/${key}.json`;
    const path = join(this.#stateDirectory, relative);
    const obstacle = await obstructedParent(this.#stateDirectory, relative);
    if (obstacle === undefined) return path;
    throw new BerthError(
      'volume_unwritable',
      `cannot write ${path}: ${join(this.#stateDirectory, obstacle)} is no directory; start berth again, which sets it aside`,
    );
  }
}

/** One name for a session however its id is written; undefined if it is no UUID. */
function keyOf(id: string): string | undefined {
  return z.uuid().safeParse(id).success ? id.toLowerCase() : undefined;
}
