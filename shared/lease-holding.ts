/**
 * Holds the lease on the volume: renews it, checks whether it is still held, releases it.
 * Invariants: the lease is lost only to a record of another owner, or if this process could not
 * renew it for the lifetime of a lease, because another program may have held the volume in
 * between. A process that was suspended for longer than `expiry` has lost the lease without
 * noticing; therefore the holder checks before each publish (`assertHeld`), and renews only a lease
 * that it has just read.
 */
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BerthError, messageOf } from './errors.ts';
import { makeDirectories, unwritable } from './files.ts';
import { createLease, type LeaseFile, readLeaseState, replaceLease } from './lease-file.ts';
import type { Witness } from './lease-witness.ts';
import type { Log } from './log.ts';
import { SerialQueue } from './serial-queue.ts';
import { pause } from './waiting.ts';

export interface Lease {
  /**
   * A vanished lease file is created again. An unreadable file is retried until the lease would
   * have expired.
   * @throws BerthError `lease_held` if the lease is lost or was released
   */
  assertHeld(): Promise<void>;
  /** Aborted, with a BerthError as reason, once a heartbeat finds the lease lost. */
  readonly lost: AbortSignal;
  /** Releases the lease; may be called twice. Never rejects: a failure is logged. */
  release(): Promise<void>;
}

export interface HoldingOptions {
  path: string;
  /** The content of the file at `path`. */
  mine: LeaseFile;
  /** When the content was written, or just before: a time of `performance.now()`. */
  renewed: number;
  witness: Witness;
  log: Log;
  heartbeat: number;
  expiry: number;
  /** The lease of the program that keeps it after this one; undefined without such a program. */
  handOver?: () => LeaseFile | undefined;
}

/** Keeps the lease alive until it is released or lost. */
export function holdLease(options: HoldingOptions): Lease {
  const { path, mine, witness, log, heartbeat, expiry } = options;
  let { renewed } = options;
  const lost = new AbortController();
  const over = new AbortController();

  /** Whether another program can have held the lease since the last renewal. */
  const isLate = () => performance.now() - renewed >= expiry;

  /** Returns when the lease was last seen to be held: a time of `performance.now()`. */
  const confirm = async (): Promise<number> => {
    for (;;) {
      if (over.signal.aborted) throw notHeld('it was released; start again');
      const looked = performance.now();
      const found = await readLeaseState(path, mine.owner);
      if (found.kind === 'mine') return looked;
      if (found.kind === 'other') {
        const who = found.holder ?? 'another program';
        throw notHeld(
          `${who} took the lease over; only one pod may use the volume (strategy Recreate)`,
        );
      }
      let cause = found.kind === 'absent' ? `${path} has vanished` : found.reason;
      if (found.kind === 'absent' && !isLate()) {
        try {
          await makeDirectories(dirname(path), 0o700);
          if (await createLease(path, mine)) {
            if (!isLate()) return looked;
            // Suspended meanwhile: another program may have held the volume in between.
            await rm(path, { force: true });
          }
        } catch (error) {
          cause = `${cause} and cannot be written again: ${messageOf(error)}`;
        }
      }
      if (isLate()) {
        throw notHeld(
          `${cause}, and the lease has not been renewed for ${expiry} ms; find the cause, then start again`,
        );
      }
      await pause(Math.min(250, heartbeat), over.signal);
    }
  };

  const beat = async (): Promise<void> => {
    if (over.signal.aborted || lost.signal.aborted) return;
    try {
      const looked = await confirm();
      mine.beat += 1;
      // Suspended since the read: another program may hold the lease by now. The next heartbeat
      // reads again.
      const inTime = () => performance.now() - looked < expiry / 2;
      if (await replaceLease(path, mine, inTime)) renewed = looked;
    } catch (error) {
      // A full or slow disk is no loss of the lease: the next heartbeat retries.
      if (!(error instanceof BerthError) || over.signal.aborted) return;
      log.error('lease_lost', 'this program has lost the lease on the volume', { error });
      lost.abort(error);
    }
  };
  const beats = new SerialQueue();
  const timer = setInterval(() => void beats.add(beat), heartbeat);
  timer.unref();

  const release = async (): Promise<void> => {
    clearInterval(timer);
    over.abort();
    await beats.idle();
    try {
      const found = await readLeaseState(path, mine.owner);
      if (found.kind === 'unreadable') throw new Error(found.reason);
      if (found.kind === 'mine') {
        const next = options.handOver?.();
        if (next) await replaceLease(path, next);
        else await rm(path, { force: true });
        log.debug('lease_released', 'released the lease on the volume', { owner: mine.owner });
      }
    } catch (error) {
      const message =
        'cannot release the lease on the volume; the next program waits until the lease expires';
      log.warn('lease_left', message, { error: unwritable(path, error) });
    } finally {
      // Last: while the lease file exists, its holder counts as alive.
      witness.close();
    }
  };
  let releasing: Promise<void> | undefined;

  return {
    assertHeld: async () => void (await confirm()),
    lost: lost.signal,
    release() {
      releasing ??= release();
      return releasing;
    },
  };
}

/** Refuses, just before its file appears, the write of a program that has noticed the loss of the lease meanwhile. */
export function onlyWhile(mayWrite: () => boolean): () => Promise<void> {
  return async () => {
    if (!mayWrite()) throw notHeld('another program holds it now');
  };
}

/** The error of a program that does not hold the lease any more. */
export function notHeld(cause: string): BerthError {
  return new BerthError('lease_held', `cannot continue with the volume: ${cause}`);
}
