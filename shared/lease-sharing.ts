/**
 * A lease that the two programs of one pod share. One of them keeps the lease file alive; the other
 * one is its guest. When the keeper ends, the guest keeps the lease; a keeper that ends in an
 * orderly way hands the lease over. Every other pod stays out: for it there is one lease, which
 * never lapses in between.
 * Invariants: a guest joins only a keeper of the same pod, of the other role, and at most one guest
 * joins. "The same pod" means this kernel (boot id), this network namespace and this IPC namespace:
 * the containers of a pod share both namespaces, and two pods never share both, unless both have
 * `hostNetwork` and `hostIPC`. Host names prove nothing and are not compared.
 */
import type { BerthError } from './errors.ts';
import { type LeaseFile, parseLease, readLease, readLeaseState } from './lease-file.ts';
import { holdLease, type Lease, notHeld } from './lease-holding.ts';
import type { LeaseRole, Peer } from './lease-link.ts';
import type { Witness } from './lease-witness.ts';
import type { Log } from './log.ts';
import { pause } from './waiting.ts';

export interface Sharing {
  role: LeaseRole;
  /** Whether the other program may begin to work on the volume now. */
  accepts: () => boolean;
  /** Called when the other program has joined, or this program has joined the other one. */
  onPeer: (peer: Peer) => void;
}

/** This program keeps the lease since `renewed`, or is the guest of the program that keeps it. */
export type Claimed = { renewed: number } | { peer: Peer; keeper: string };

export interface SharedOptions {
  path: string;
  mine: LeaseFile;
  claimed: Claimed;
  /** Claims the lease again after the keeper has ended. @throws BerthError if another pod has it */
  reclaim: (signal: AbortSignal) => Promise<Claimed>;
  /** The program that has joined this one: its peer, and the lease to hand over. */
  guest: () => { peer: Peer; lease: LeaseFile } | undefined;
  sharing: Sharing;
  witness: Witness;
  log: Log;
  heartbeat: number;
  expiry: number;
}

/** Holds the lease as keeper or as guest, whichever this program is at the moment. */
export function shareLease(options: SharedOptions): Lease {
  const { path, mine, sharing, witness, log, heartbeat, expiry } = options;
  const lost = new AbortController();
  const over = new AbortController();
  let kept: Lease | undefined;
  let keeper = mine.owner;
  let peer: Peer | undefined;
  /** The text of the keeper's lease, and when it was last seen to change. */
  let seen = '';
  let changedAt = performance.now();

  const lose = (error: unknown) => {
    if (over.signal.aborted || lost.signal.aborted) return;
    log.error('lease_lost', 'this program has lost the lease on the volume', { error });
    lost.abort(error);
  };

  const keep = (renewed: number) => {
    const handOver = () => options.guest()?.lease;
    kept = holdLease({ path, mine, renewed, witness, log, heartbeat, expiry, handOver });
    const { lost: gone } = kept;
    gone.addEventListener('abort', () => lost.abort(gone.reason), { once: true });
  };

  const adopt = (claimed: Claimed) => {
    if ('renewed' in claimed) return keep(claimed.renewed);
    [keeper, peer, changedAt] = [claimed.keeper, claimed.peer, performance.now()];
    claimed.peer.closed.addEventListener('abort', () => void takeOver(), { once: true });
    if (claimed.peer.closed.aborted) void takeOver();
    sharing.onPeer(claimed.peer);
  };

  const takeOver = async () => {
    if (over.signal.aborted || lost.signal.aborted) return;
    peer = undefined;
    try {
      const claimed = await options.reclaim(over.signal);
      if (over.signal.aborted && 'peer' in claimed) claimed.peer.close();
      else adopt(claimed);
    } catch (error) {
      lose(error);
    }
  };

  /** A guest watches that the keeper's lease stays alive. */
  const watch = async () => {
    if (kept || over.signal.aborted || lost.signal.aborted) return;
    const text = await readLease(path);
    if (text !== seen) [seen, changedAt] = [text, performance.now()];
    const owner = parseLease(text);
    const isStranger = owner && owner.owner !== keeper && owner.pod !== mine.pod;
    if (isStranger && !kept) lose(taken(owner.holder));
  };
  const timer = setInterval(() => void watch(), heartbeat);
  timer.unref();
  adopt(options.claimed);

  const release = async () => {
    over.abort();
    clearInterval(timer);
    peer?.close();
    if (kept) await kept.release();
    else {
      // The keeper may have handed the lease over at this moment.
      const found = await readLeaseState(path, mine.owner);
      if (found.kind === 'mine') {
        keep(performance.now());
        await (kept as Lease | undefined)?.release();
      } else witness.close();
    }
    options.guest()?.peer.close();
  };
  let releasing: Promise<void> | undefined;

  return {
    async assertHeld() {
      const until = performance.now() + expiry;
      for (;;) {
        if (over.signal.aborted) throw notHeld('it was released; start again');
        lost.signal.throwIfAborted();
        if (kept) return kept.assertHeld();
        await watch();
        const isAlive = performance.now() - changedAt < expiry;
        if (peer && isAlive && parseLease(seen)?.owner === keeper) return;
        if (performance.now() > until) {
          throw notHeld('the other program of this pod does not keep the lease alive; see its log');
        }
        await pause(50, over.signal);
      }
    },
    lost: lost.signal,
    release() {
      releasing ??= release();
      return releasing;
    },
  };
}

function taken(holder: string): BerthError {
  return notHeld(
    `${holder} took the lease over; only one pod may use the volume (strategy Recreate)`,
  );
}
