/**
 * Who owns which session: one small file each in berth's state, so that a session outlives the
 * process that served it. The conversation itself is the CLI's own transcript.
 * Always holds: the files are untrusted (the CLI can write them), so they are parsed and bounded,
 * and an id that is no UUID never becomes a path; a read sees the newest write, durable or not yet.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { readFileBounded, writeFileAtomic } from '../../shared/files.ts';

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
  readonly #directory: string;
  /** Writes under way, the newest for each session. */
  readonly #writes = new Map<string, { record: SessionRecord; done: Promise<void> }>();

  /** @param stateDirectory berth's state on the volume */
  constructor(stateDirectory: string) {
    this.#directory = join(stateDirectory, 'sessions');
  }

  /** Undefined if there is none, or none that can be read. */
  async read(id: string): Promise<SessionRecord | undefined> {
    if (!z.uuid().safeParse(id).success) return undefined;
    const underWay = this.#writes.get(id);
    if (underWay) return underWay.record;
    try {
      const content = await readFileBounded(this.#path(id), limit);
      const parsed = content && record.parse(JSON.parse(content.toString('utf8')));
      return parsed?.id === id ? parsed : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * Resolves when the record is durable; writes of one session happen in order.
   * @throws BerthError `volume_unwritable`
   */
  write(session: SessionRecord): Promise<void> {
    const { id } = session;
    const before = this.#writes.get(id)?.done.catch(() => undefined) ?? Promise.resolve();
    const done = before
      .then(() => writeFileAtomic(this.#path(id), JSON.stringify(session), { mode: 0o600 }))
      .finally(() => {
        if (this.#writes.get(id)?.record === session) this.#writes.delete(id);
      });
    this.#writes.set(id, { record: session, done });
    return done;
  }

  /** Resolves when no write is under way. */
  async flush(): Promise<void> {
    await Promise.allSettled([...this.#writes.values()].map(({ done }) => done));
  }

  #path(id: string): string {
    return join(this.#directory, `${id.toLowerCase()}.json`);
  }
}
