/**
 * The lease on the volume: at most one program works on it at a time, across pods and nodes.
 * A file names a random owner and counts heartbeats. Whoever sees a lease whose file has not changed
 * for `expiry`, by its own monotonic clock, may take it over; so neither the clocks of different nodes
 * nor the times of files nor pids are ever compared. A holder that can be proved dead (lease-witness.ts)
 * is not waited for. Waiting makes and removes a file at each look, which also keeps NFS from answering
 * out of its cache. What the holder does is in lease-holding.ts.
 */
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { BerthError } from './errors.ts';
import { unwritable } from './files.ts';
import { createLease, type LeaseFile, parseLease, readLease, takeOver } from './lease-file.ts';
import { holdLease, type Lease } from './lease-holding.ts';
import { isCertainlyDead, openWitness } from './lease-witness.ts';
import type { Log } from './log.ts';
import { pause } from './waiting.ts';

export type { Lease };

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

/**
 * Waits until this process holds the lease.
 * @throws BerthError `lease_held` when `signal` aborts, also if it has before, even where the lease is
 * free; `volume_unwritable` if it cannot be written
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
  let renewed: number;
  try {
    await mkdir(directory, { recursive: true });
    renewed = await claim(path, mine, { log, signal, heartbeat, expiry });
  } catch (error) {
    witness.close();
    throw error instanceof BerthError ? error : unwritable(path, error);
  }
  log.debug('lease_acquired', 'holding the volume', { owner });
  return holdLease({ path, mine, renewed, witness, log, heartbeat, expiry });
}

type ClaimOptions = Required<Pick<LeaseOptions, 'log' | 'signal' | 'heartbeat' | 'expiry'>>;

/**
 * Returns when the file at `path` is `mine`: created where none was, or put in place of a dead one.
 * @returns a time just before that, of `performance.now()`
 */
async function claim(path: string, mine: LeaseFile, options: ClaimOptions): Promise<number> {
  const { log, signal, heartbeat, expiry } = options;
  let seen: string | undefined;
  let seenSince = performance.now();
  let round = 1;
  let claimedSince: number | undefined;
  let waiting = false;
  for (;;) {
    // Before each try: who was told to stop must not find himself with a lease.
    if (signal.aborted) throw seen === undefined ? toldToStop() : heldBy(parseLease(seen));
    const started = performance.now();
    if (await createLease(path, mine)) return started;
    const text = await readLease(path);
    const current = parseLease(text);
    if (text !== seen) {
      [seen, seenSince, round, claimedSince] = [text, performance.now(), 1, undefined];
    }
    const expired = performance.now() - seenSince >= expiry;
    if (expired || (current && (await isCertainlyDead(current.owner, current.place)))) {
      const outcome = await takeOver(path, text, round, mine);
      if (outcome === 'taken') return started;
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
    await pause(Math.min(250, heartbeat), signal);
  }
}

function toldToStop(): BerthError {
  return new BerthError(
    'lease_held',
    'cannot use the volume: this program was told to stop before it held it; start it again',
  );
}

function heldBy(current: LeaseFile | undefined): BerthError {
  return new BerthError(
    'lease_held',
    `cannot use the volume: ${current?.holder ?? 'another program'} holds it; let only one pod use it (strategy Recreate), or wait until the other has ended`,
  );
}
