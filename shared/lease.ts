/**
 * The lease on the volume: at most one program works on it at a time, across pods and nodes.
 * A file names a random owner and counts heartbeats. Whoever sees a lease whose file has not changed
 * for `expiry`, by its own clock, may take it over; so clocks of different nodes and pids are never
 * compared. The holder re-checks before each publish (`assertHeld`), since a process that was
 * suspended for longer than `expiry` has lost the lease without knowing.
 */
import { randomUUID } from 'node:crypto';
import { link, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { BerthError, systemCode } from './errors.ts';
import { readFileBounded, unwritable } from './files.ts';
import type { Log } from './log.ts';

/** In berth's state directory. It is gone while nobody holds the volume. */
export const leaseFileName = 'lease.json';

const leaseFile = z.object({
  version: z.literal(1),
  owner: z.string(),
  /** For people: which program on which host. */
  holder: z.string(),
  beat: z.number(),
});
type LeaseFile = z.infer<typeof leaseFile>;

export interface LeaseOptions {
  /** berth's state directory; the lease is `lease.json` in it. */
  directory: string;
  /** `init` or `serve`. */
  program: string;
  log: Log;
  /** Stops waiting for a lease that another holds; the rejection is `lease_held`. */
  signal: AbortSignal;
  /** Milliseconds between two heartbeats. */
  heartbeat?: number;
  /** Milliseconds without a heartbeat after which a lease is dead. */
  expiry?: number;
}

export interface Lease {
  /** @throws BerthError `lease_held` if the lease has gone to another owner. */
  assertHeld(): Promise<void>;
  /** Aborted, with a BerthError as reason, once a heartbeat finds the lease lost. */
  readonly lost: AbortSignal;
  /** Gives the lease back; may be called twice. */
  release(): Promise<void>;
}

const settle = 100;

/**
 * Waits until this process holds the lease.
 * @throws BerthError `lease_held` when `signal` aborts, `volume_unwritable` if it cannot be written
 */
export async function acquireLease(options: LeaseOptions): Promise<Lease> {
  const { directory, log, signal, heartbeat = 2_000, expiry = 10_000 } = options;
  const path = join(directory, leaseFileName);
  const owner = randomUUID();
  const holder = `${options.program} on ${hostname()}`;
  const mine: LeaseFile = { version: 1, owner, holder, beat: 0 };
  try {
    await mkdir(directory, { recursive: true });
    await claim(path, mine, { log, signal, heartbeat, expiry });
  } catch (error) {
    throw error instanceof BerthError ? error : unwritable(path, error);
  }
  log.debug('lease_acquired', 'holding the volume', { owner });

  const lost = new AbortController();
  const assertHeld = async (): Promise<void> => {
    const current = parse(await readText(path));
    if (current?.owner === owner) return;
    throw new BerthError(
      'lease_held',
      `cannot go on with the volume: ${current?.holder ?? 'somebody'} took it over; let only one pod use it (strategy Recreate)`,
    );
  };
  const beat = async (): Promise<void> => {
    try {
      await assertHeld();
      mine.beat += 1;
      await replace(path, mine);
    } catch (error) {
      // A disk that is full or slow is no loss: the next beat tries again.
      if (!(error instanceof BerthError) || lost.signal.aborted) return;
      log.error('lease_lost', 'another program took the volume over', { error });
      lost.abort(error);
    }
  };
  let beating = Promise.resolve();
  const timer = setInterval(() => {
    beating = beating.then(beat);
  }, heartbeat);
  timer.unref();

  return {
    assertHeld,
    lost: lost.signal,
    async release() {
      clearInterval(timer);
      await beating;
      if (parse(await readText(path))?.owner !== owner) return;
      await rm(path, { force: true });
      log.debug('lease_released', 'gave the volume back', { owner });
    },
  };
}

type ClaimOptions = Required<Pick<LeaseOptions, 'log' | 'signal' | 'heartbeat' | 'expiry'>>;

/** Returns when the file at `path` is `mine`: created where none was, or put in place of a dead one. */
async function claim(path: string, mine: LeaseFile, options: ClaimOptions): Promise<void> {
  const { log, signal, heartbeat, expiry } = options;
  let seen: string | undefined;
  let seenSince = performance.now();
  for (;;) {
    if (await createNew(path, mine)) return;
    const text = await readText(path);
    const current = parse(text);
    if (text !== seen) {
      if (seen === undefined) {
        const who = current?.holder ?? 'another program';
        log.info('lease_waiting', `waiting for the volume: ${who} holds it`);
      }
      seen = text;
      seenSince = performance.now();
    } else if (performance.now() - seenSince >= expiry) {
      await replace(path, mine).catch((error) => {
        if (systemCode(error) !== 'ENOENT') throw error;
      });
      // Of two that take over at once the later rename wins; the other sees so after this pause.
      await delay(settle, undefined, { signal }).catch(() => undefined);
      if (parse(await readText(path))?.owner === mine.owner) return;
    }
    if (signal.aborted) throw heldBy(current);
    await delay(Math.min(250, heartbeat), undefined, { signal }).catch(() => undefined);
  }
}

function heldBy(current: LeaseFile | undefined): BerthError {
  return new BerthError(
    'lease_held',
    `cannot use the volume: ${current?.holder ?? 'another program'} holds it; let only one pod use it (strategy Recreate), or wait until the other has ended`,
  );
}

/** The lease's text; empty if it is gone or cannot be read (then it can only expire). */
async function readText(path: string): Promise<string> {
  try {
    return (await readFileBounded(path, 4096))?.toString('utf8') ?? '';
  } catch {
    return '';
  }
}

/** What the text says, if it is a lease of this version; a newer one still shows its heartbeats. */
function parse(text: string): LeaseFile | undefined {
  try {
    return leaseFile.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Creates the lease if there is none: link fails where the name exists, and is whole or absent. */
async function createNew(path: string, mine: LeaseFile): Promise<boolean> {
  const temporary = `${path}.${mine.owner}`;
  try {
    await writeFile(temporary, JSON.stringify(mine), { flag: 'wx', mode: 0o644 });
    await link(temporary, path);
    return true;
  } catch (error) {
    // ENOENT: the holder has swept up what looked left behind. The next try makes it again.
    if (['EEXIST', 'ENOENT'].includes(systemCode(error) ?? '')) return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function replace(path: string, mine: LeaseFile): Promise<void> {
  const temporary = `${path}.${mine.owner}`;
  await writeFile(temporary, JSON.stringify(mine), { mode: 0o644 });
  await rename(temporary, path);
}
