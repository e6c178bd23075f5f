/**
 * The lease on the volume: at most one program works on the volume at a time, across pods and
 * nodes. A file names a random owner and counts heartbeats. A program may take over a lease whose
 * file has not changed for `expiry`, by its own monotonic clock. So clocks of different nodes, file
 * times and process ids are never compared. A holder that is provably dead (lease-witness.ts) is
 * replaced immediately. While it waits, a program creates and removes a file before each read, so
 * that NFS does not answer from its cache. lease-holding.ts has the work of the holder.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { BerthError } from './errors.ts';
import { makeDirectories, unwritable } from './files.ts';
import { createLease, type LeaseFile, parseLease, readLease, takeOver } from './lease-file.ts';
import { holdLease, type Lease, notHeld } from './lease-holding.ts';
import { joinKeeper, type Peer, receiveGuest } from './lease-link.ts';
import { type Claimed, type Sharing, shareLease } from './lease-sharing.ts';
import { isCertainlyDead, openWitness, podOfThisProcess } from './lease-witness.ts';
import type { Log } from './log.ts';
import { pause } from './waiting.ts';

export type { Lease, Peer, Sharing };

/** In berth's state directory. Absent while no program holds the volume. */
export const leaseFileName = 'lease.json';

export interface LeaseOptions {
  /** berth's state directory; it contains the lease file `lease.json`. */
  directory: string;
  /** `init` or `serve`. */
  program: string;
  log: Log;
  /** Stops waiting for a lease that another program holds; the rejection is `lease_held`. */
  signal: AbortSignal;
  /** Milliseconds between two heartbeats. */
  heartbeat?: number;
  /** Milliseconds without a heartbeat after which a lease is dead. */
  expiry?: number;
  /** Shares the lease with the other program of this pod (lease-sharing.ts). */
  sharing?: Sharing;
}

/**
 * Waits until this process holds the lease.
 * @throws BerthError `lease_held` when `signal` aborts, or has aborted already, even if the lease
 * is free; `volume_unwritable` if the lease cannot be written
 */
export async function acquireLease(options: LeaseOptions): Promise<Lease> {
  const { directory, log, signal, heartbeat = 2_000, expiry = 10_000 } = options;
  const path = join(directory, leaseFileName);
  const owner = randomUUID();
  const { sharing } = options;
  const pod = sharing && (await podOfThisProcess());
  let guest: { peer: Peer; lease: LeaseFile } | undefined;
  const witness = await openWitness(
    owner,
    sharing && pod !== undefined
      ? (socket) =>
          receiveGuest(socket, {
            ...{ role: sharing.role, pod },
            mayJoin: () => (!guest || guest.peer.closed.aborted) && sharing.accepts(),
            onGuest: (peer, lease) => {
              guest = { peer, lease };
              sharing.onPeer(peer);
            },
          })
      : undefined,
  );
  const mine: LeaseFile = {
    version: 1,
    owner,
    holder: `${options.program} on ${hostname()}`,
    beat: 0,
    ...(witness.place === undefined ? {} : { place: witness.place }),
    ...(sharing && pod !== undefined ? { pod, role: sharing.role } : {}),
  };
  const times = { heartbeat, expiry };
  let claimed: Claimed;
  try {
    await makeDirectories(directory);
    claimed = await claim(path, mine, { log, signal, ...times });
  } catch (error) {
    witness.close();
    throw error instanceof BerthError ? error : unwritable(path, error);
  }
  log.debug('lease_acquired', 'holding the lease on the volume', { owner });
  if (!sharing) {
    const renewed = 'renewed' in claimed ? claimed.renewed : performance.now();
    return holdLease({ path, mine, renewed, witness, log, ...times });
  }
  return shareLease({
    ...{ path, mine, claimed, sharing, witness, log, ...times },
    reclaim: (signal) => claim(path, mine, { log, signal, ...times, samePod: true }),
    guest: () => (guest?.peer.closed.aborted ? undefined : guest),
  });
}

interface ClaimOptions
  extends Required<Pick<LeaseOptions, 'log' | 'signal' | 'heartbeat' | 'expiry'>> {
  /** The lease belongs to this pod already: fails at once if another pod has it. */
  samePod?: boolean;
}

/**
 * Returns when the file at `path` is `mine`: newly created, handed over, or as the replacement of a
 * dead lease. A program that shares its lease may join the other program of its pod instead.
 * @returns a time just before that, of `performance.now()`; or the program that it has joined
 */
async function claim(path: string, mine: LeaseFile, options: ClaimOptions): Promise<Claimed> {
  const { log, signal, heartbeat, expiry } = options;
  let seen: string | undefined;
  let seenSince = performance.now();
  let round = 1;
  let claimedSince: number | undefined;
  let waiting = false;
  for (;;) {
    // Before each attempt: a stopped program must not get a lease.
    if (signal.aborted) throw seen === undefined ? stopRequested() : heldBy(parseLease(seen));
    const started = performance.now();
    if (await createLease(path, mine)) return { renewed: started };
    const text = await readLease(path);
    const current = parseLease(text);
    if (current?.owner === mine.owner) return { renewed: started };
    const peer = current && (await joined(current, mine));
    if (peer) return { peer, keeper: current.owner };
    if (options.samePod && current && current.pod !== mine.pod) {
      throw notHeld(`${current.holder} took the lease over; only one pod may use the volume`);
    }
    if (text !== seen) {
      [seen, seenSince, round, claimedSince] = [text, performance.now(), 1, undefined];
    }
    const expired = performance.now() - seenSince >= expiry;
    if (expired || (current && (await isCertainlyDead(current.owner, current.place)))) {
      const outcome = await takeOver(path, text, round, mine);
      if (outcome === 'taken') return { renewed: started };
      claimedSince = outcome === 'claimed' ? (claimedSince ?? performance.now()) : undefined;
      // The program that created this claim has died with it.
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

/** Joins the other program of this pod, if it keeps the lease and accepts that now. */
async function joined(current: LeaseFile, mine: LeaseFile): Promise<Peer | undefined> {
  const { pod, role } = mine;
  if (pod === undefined || role === undefined || current.pod !== pod) return undefined;
  if (current.role === undefined || current.role === role) return undefined;
  return joinKeeper(current.owner, { role, pod, lease: mine });
}

function stopRequested(): BerthError {
  return new BerthError(
    'lease_held',
    'cannot use the volume: this program was stopped before it held the lease; start it again',
  );
}

function heldBy(current: LeaseFile | undefined): BerthError {
  return new BerthError(
    'lease_held',
    `cannot use the volume: ${current?.holder ?? 'another program'} holds it; only one pod may use the volume (strategy Recreate); wait until the other program has ended`,
  );
}
