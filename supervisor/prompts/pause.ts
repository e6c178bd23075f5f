/**
 * Whether the server accepts prompts. A small file in berth's state keeps a pause across restarts.
 * Invariants: a pause takes effect at once, whether it is durable or not; a file that cannot be read means paused,
 * since a person wrote it to pause the server.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { BerthError, messageOf } from '../../shared/errors.ts';
import { readFileBounded, syncDirectory, writeFileAtomic } from '../../shared/files.ts';
import type { Log } from '../../shared/log.ts';
import { SerialQueue } from '../../shared/serial-queue.ts';

const pauseFile = z.object({
  version: z.literal(1),
  by: z.string().max(128),
  since: z.iso.datetime(),
  reason: z.string().max(2_000).nullable(),
});

export interface Paused {
  /** The name of the token that paused the server; null if the file cannot be read. */
  by: string | null;
  /** ISO time. */
  since: string;
  reason: string | null;
}

const fileName = 'pause.json';
/** Seconds after which a client may retry: the end of a pause is unknown. */
const retryAfter = 60;

export class Pause {
  readonly #path: string;
  readonly #stateDirectory: string;
  readonly #log: Log;
  readonly #onResume: () => void;
  #onDecided: () => void = () => {};
  #paused: Paused | undefined;
  readonly #writes = new SerialQueue();

  /** @param onResume called when prompts are accepted again */
  constructor(stateDirectory: string, log: Log, onResume: () => void = () => {}) {
    this.#onResume = onResume;
    this.#stateDirectory = stateDirectory;
    this.#path = join(stateDirectory, fileName);
    this.#log = log;
  }

  /** @param listener called with each pause and each resume of a caller, also if it changes nothing */
  onDecided(listener: () => void): void {
    this.#onDecided = listener;
  }

  /** Undefined while prompts are accepted. */
  get state(): Paused | undefined {
    return this.#paused;
  }

  /** Restores the pause of an earlier run. */
  async load(): Promise<void> {
    try {
      const content = await readFileBounded(this.#path, 64 * 1024);
      if (content === undefined) return;
      const { by, since, reason } = pauseFile.parse(JSON.parse(content.toString('utf8')));
      this.#paused = { by, since, reason };
    } catch (error) {
      this.#paused = { by: null, since: new Date().toISOString(), reason: null };
      this.#log.error('pause_unreadable', `${this.#path} cannot be read: the server is paused`, {
        reason: messageOf(error),
      });
    }
    const { by, since } = this.#paused;
    this.#log.warn('paused', 'no prompts are accepted until `POST /v1/resume`', { by, since });
  }

  /** A second pause keeps the name of the first one. @returns whether the pause survives a restart */
  pause(by: string, reason: string | null): Promise<boolean> {
    const written = this.adopt({ by, reason });
    this.#onDecided();
    return written;
  }

  /** @returns whether the end of the pause survives a restart */
  resume(): Promise<boolean> {
    const written = this.adopt(undefined);
    this.#onDecided();
    return written;
  }

  /** Takes over what was decided elsewhere. @returns whether it survives a restart */
  adopt(decided: Omit<Paused, 'since'> | undefined): Promise<boolean> {
    if (decided === undefined) {
      this.#paused = undefined;
      this.#onResume();
      return this.#change(async () => {
        await rm(this.#path, { recursive: true, force: true });
        await syncDirectory(this.#stateDirectory);
      });
    }
    this.#paused ??= { ...decided, since: new Date().toISOString() };
    const text = JSON.stringify({ version: 1, ...this.#paused });
    return this.#change(() => writeFileAtomic(this.#path, text, { mode: 0o600 }));
  }

  /** The error of a prompt that is rejected or interrupted; undefined while prompts are accepted. */
  get refusal(): BerthError | undefined {
    if (!this.#paused) return undefined;
    const { by, since, reason } = this.#paused;
    const who = `${by ?? 'an unknown caller'} paused the server at ${since}${reason ? ` (${reason})` : ''}`;
    return new BerthError(
      'paused',
      `cannot answer the prompt: ${who}; try again after \`POST /v1/resume\``,
      { details: { paused_since: since, retry_after: retryAfter } },
    );
  }

  #change(write: () => Promise<void>): Promise<boolean> {
    return this.#writes.add(write).then(
      () => true,
      (error: unknown) => {
        this.#log.error('failed', 'the pause, or its end, would not survive a restart', { error });
        return false;
      },
    );
  }
}
