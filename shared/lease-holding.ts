/**
 * Holding the lease on the volume: renewing it, knowing whether it is still held, giving it back.
 * Always holds: it is lost only to another owner's record, or when this process could not renew it for
 * as long as a lease lives, for then another may have had the volume. The holder re-checks before each
 * publish (`assertHeld`), since a process that was suspended for longer than `expiry` has lost the
 * lease without knowing; for the same reason it renews only what it has looked at just before.
 */
import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { BerthError, messageOf } from './errors.ts';
import { unwritable } from './files.ts';
import { createLease, type LeaseFile, lookAtLease, replaceLease } from './lease-file.ts';
import type { Witness } from './lease-witness.ts';
import type { Log } from './log.ts';
import { SerialQueue } from './serial-queue.ts';
import { pause } from './waiting.ts';

export interface Lease {
  /**
   * A lease file that has vanished is made again; one that cannot be read is tried again until it
   * would have expired.
   * @throws BerthError `lease_held` if the lease is lost or was given back
   */
  assertHeld(): Promise<void>;
  /** Aborted, with a BerthError as reason, once a heartbeat finds the lease lost. */
  readonly lost: AbortSignal;
  /** Gives the lease back; may be called twice. Never rejects: what fails is logged. */
  release(): Promise<void>;
}

export interface HoldingOptions {
  path: string;
  /** What is in the file at `path`. */
  mine: LeaseFile;
  /** When it was written there, or just before: of `performance.now()`. */
  renewed: number;
  witness: Witness;
  log: Log;
  heartbeat: number;
  expiry: number;
}

/** Keeps the lease alive until it is given back or lost. */
export function holdLease(options: HoldingOptions): Lease {
  const { path, mine, witness, log, heartbeat, expiry } = options;
  let { renewed } = options;
  const lost = new AbortController();
  const over = new AbortController();

  /** Whether another can have had the lease since it was last renewed. */
  const isLate = () => performance.now() - renewed >= expiry;

  /** Returns when the lease was last seen to be held, of `performance.now()`. */
  const confirm = async (): Promise<number> => {
    for (;;) {
      if (over.signal.aborted) throw notHeld('it was given back; start again');
      const looked = performance.now();
      const found = await lookAtLease(path, mine.owner);
      if (found.kind === 'mine') return looked;
      if (found.kind === 'other') {
        const who = found.holder ?? 'somebody';
        throw notHeld(`${who} took it over; let only one pod use it (strategy Recreate)`);
      }
      let cause = found.kind === 'absent' ? `${path} has vanished` : found.reason;
      if (found.kind === 'absent' && !isLate()) {
        try {
          await mkdir(dirname(path), { recursive: true, mode: 0o700 });
          if (await createLease(path, mine)) {
            if (!isLate()) return looked;
            // Suspended meanwhile: another may have come and gone.
            await rm(path, { force: true });
          }
        } catch (error) {
          cause = `${cause} and cannot be written again: ${messageOf(error)}`;
        }
      }
      if (isLate()) {
        throw notHeld(
          `${cause}, and the lease has not been renewed for ${expiry} ms; see why, then start again`,
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
      // Suspended since the look: somebody may hold it by now. The next beat looks again.
      const inTime = () => performance.now() - looked < expiry / 2;
      if (await replaceLease(path, mine, inTime)) renewed = looked;
    } catch (error) {
      // A disk that is full or slow is no loss: the next beat tries again.
      if (!(error instanceof BerthError) || over.signal.aborted) return;
      log.error('lease_lost', 'the volume is lost to this program', { error });
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
      const found = await lookAtLease(path, mine.owner);
      if (found.kind === 'unreadable') throw new Error(found.reason);
      if (found.kind === 'mine') {
        await rm(path, { force: true });
        log.debug('lease_released', 'gave the volume back', { owner: mine.owner });
      }
    } catch (error) {
      const message = 'cannot give the volume back; the next program waits until the lease expires';
      log.warn('lease_left', message, { error: unwritable(path, error) });
    } finally {
      // Last: as long as the lease is there its holder counts as alive.
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

function notHeld(cause: string): BerthError {
  return new BerthError('lease_held', `cannot go on with the volume: ${cause}`);
}
