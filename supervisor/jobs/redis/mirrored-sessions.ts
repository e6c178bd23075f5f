/**
 * Copies of sessions in Redis: the record and the transcript of each.
 * Invariants: a copy is written by the replica that has the session, and goes to another one only when that replica shows no
 * sign of life. All copies together have at most `most` bytes: the ones that were not used for the longest time go first. A
 * copy expires.
 */
import type { MirrorPart, MirrorStore } from '../../sessions/mirror.ts';
import type { RedisConnection } from './connection.ts';
import type { Keys } from './keys.ts';
import { addToMirror, removeMirror, takeMirror } from './mirror-scripts.ts';
import type { SignsOfLife } from './signs-of-life.ts';

export interface MirroredSessionsOptions {
  connection: RedisConnection;
  keys: Keys;
  replica: string;
  /** Knows which replicas are gone. */
  replicas: Pick<SignsOfLife, 'isGone'>;
  /** The most bytes of all transcripts together; 0: no session is copied. */
  most: number;
  /** Milliseconds for which a copy stays that nobody uses. */
  expiry: number;
}

export class MirroredSessions implements MirrorStore {
  readonly #options: MirroredSessionsOptions;

  constructor(options: MirroredSessionsOptions) {
    this.#options = options;
  }

  async add({ id, record, from, lines }: MirrorPart): ReturnType<MirrorStore['add']> {
    const { connection, keys, replica, most, expiry } = this.#options;
    connection.requireRoom('copy the transcript');
    const words = [...this.#keysOf(id), id, replica, from, most, expiry, keys.mirrored('')];
    const answer = await connection.run('copy the transcript', (client) =>
      client.eval(addToMirror, 0, ...words, keys.transcript(''), record, lines),
    );
    return answer as Awaited<ReturnType<MirrorStore['add']>>;
  }

  async size(id: string): Promise<number | undefined> {
    const { connection, keys, replica } = this.#options;
    const [owner, bytes] = await connection.run('search for the copy of the session', (client) =>
      Promise.all([client.hget(keys.mirrored(id), 'replica'), client.strlen(keys.transcript(id))]),
    );
    return owner === replica ? bytes : undefined;
  }

  async take(id: string): ReturnType<MirrorStore['take']> {
    const { connection, keys, replica, replicas } = this.#options;
    const owner = await connection.run('search for the copy of the session', (client) =>
      client.hget(keys.mirrored(id), 'replica'),
    );
    if (owner === null) return 'none';
    if (owner !== replica && !replicas.isGone(owner)) return 'lives';
    const words = [...this.#keysOf(id), id, replica, owner, keys.homes];
    const answer = await connection.script('take the copy of the session', takeMirror, words);
    if (!Array.isArray(answer)) return 'lives';
    const [record = '', transcript = ''] = answer.map(String);
    return { record, transcript, isOwn: owner === replica };
  }

  async remove(id: string): Promise<void> {
    const { connection, replica } = this.#options;
    const words = [...this.#keysOf(id), id, replica];
    await connection.script('remove the copy of the session', removeMirror, words);
  }

  #keysOf(id: string): string[] {
    const { keys } = this.#options;
    return [keys.mirrored(id), keys.transcript(id), keys.mirrorBytes, keys.mirrorTimes];
  }
}
