/**
 * The lease on the volume: at most one program works on it at a time, across pods and nodes.
 * A file names a random owner and counts heartbeats. Whoever sees a lease whose file has not changed
 * for `expiry`, by its own monotonic clock, may take it over; so neither the clocks of different nodes
 * nor the times of files nor pids are ever compared. A holder that can be proved dead (lease-witness.ts)
 * is not waited for. The holder re-checks before each publish (`assertHeld`), since a process that was
 * suspended for longer than `expiry` has lost the lease without knowing; for the same reason it renews
 * only what it has looked at just before. Waiting makes and removes a file at each look, which also
 * keeps NFS from answering out of its cache.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { BerthError } from './errors.ts';
import { unwritable } from './files.ts';
import {
  createLease,
  type LeaseFile,
  parseLease,
  readLease,
  replaceLease,
  takeOver,
} from './lease-file.ts';
import { isCertainlyDead, openWitness } from './lease-witness.ts';
import type { Log } from './log.ts';

/** In berth's state directory. It is gone while nobody holds the volume. */
export const leaseFileName = 'lease.json';

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

/**
 * Waits until this process holds the lease.
 * @throws BerthError `lease_held` when `signal` aborts, `volume_unwritable` if it cannot be written
 */
export async function acquireLease(options: LeaseOptions): Promise<Lease> {
  const { directory, log, signal, heartbeat = 2_000, expiry = 10_000 } = options;
  const path = join(directory, leaseFileName);
  const owner = randomUUID();
  const witness = await openWitness(owner);
  const mine: LeaseFile = {
    version: 1,
    owner,
    holder: `${options.program} on ${hostname()}`,
    beat: 0,
    ...(witness.place === undefined ? {} : { place: witness.place }),
  };
  try {
    await mkdir(directory, { recursive: true });
    await claim(path, mine, { log, signal, heartbeat, expiry });
  } catch (error) {
    witness.close();
    throw error instanceof BerthError ? error : unwritable(path, error);
  }
  log.debug('lease_acquired', 'holding the volume', { owner });

  const lost = new AbortController();
  const assertHeld = async (): Promise<void> => {
    const current = parseLease(await readLease(path));
    if (current?.owner === owner) return;
    throw new BerthError(
      'lease_held',
      `cannot go on with the volume: ${current?.holder ?? 'somebody'} took it over; let only one pod use it (strategy Recreate)`,
    );
  };
  const beat = async (): Promise<void> => {
    try {
      const looked = performance.now();
      await assertHeld();
      mine.beat += 1;
      // Suspended since the look: somebody may hold it by now. The next beat looks again.
      await replaceLease(path, mine, () => performance.now() - looked < expiry / 2);
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
      if (parseLease(await readLease(path))?.owner === owner) {
        await rm(path, { force: true });
        log.debug('lease_released', 'gave the volume back', { owner });
      }
      // Last: as long as the lease is there its holder counts as alive.
      witness.close();
    },
  };
}

type ClaimOptions = Required<Pick<LeaseOptions, 'log' | 'signal' | 'heartbeat' | 'expiry'>>;

/** Returns when the file at `path` is `mine`: created where none was, or put in place of a dead one. */
async function claim(path: string, mine: LeaseFile, options: ClaimOptions): Promise<void> {
  const { log, signal, heartbeat, expiry } = options;
  let seen: string | undefined;
  let seenSince = performance.now();
  let round = 1;
  let claimedSince: number | undefined;
  let waiting = false;
  for (;;) {
    if (await createLease(path, mine)) return;
    const text = await readLease(path);
    const current = parseLease(text);
    if (text !== seen) {
      [seen, seenSince, round, claimedSince] = [text, performance.now(), 1, undefined];
    }
    const expired = performance.now() - seenSince >= expiry;
    if (expired || (current && (await isCertainlyDead(current.owner, current.place)))) {
      const outcome = await takeOver(path, text, round, mine);
      if (outcome === 'taken') return;
      claimedSince = outcome === 'claimed' ? (claimedSince ?? performance.now()) : undefined;
      // Whoever made that claim has died of it.
      if (claimedSince !== undefined && performance.now() - claimedSince >= expiry) {
        [round, claimedSince] = [round + 1, undefined];
      }
    } else if (!waiting) {
      waiting = true;
      const who = current?.holder ?? 'another program';
      log.info('lease_waiting', `waiting for the volume: ${who} holds it`);
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
