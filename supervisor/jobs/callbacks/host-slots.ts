/**
 * Bounds the requests to one host at once, so that a slow host does not take the connections of the others.
 * Invariant: a callback that finds its host busy gets a time to come again; these times are spread as far as the host's own
 * speed requires.
 */

interface Host {
  /** When each running request began. */
  starts: number[];
  /** Milliseconds that a request takes, as a moving average. */
  mean: number;
  /** When the next callback may come that finds the host busy. */
  nextTurn: number;
}

/** Milliseconds. */
const firstMean = 50;
const shortestWait = 100;
const longestWait = 5 * 60_000;
/** The share of the newest request in the average. */
const weight = 0.3;
/** Above it, hosts without a running request are forgotten. */
const mostHosts = 100;

export class HostSlots {
  readonly #most: number;
  readonly #hosts = new Map<string, Host>();

  /** @param most requests to one host at once */
  constructor(most: number) {
    this.#most = most;
  }

  /**
   * @param now milliseconds; also of the release
   * @returns the function that releases the slot, or the milliseconds after which to come again
   */
  take(name: string, now: number): ((now: number) => void) | number {
    const host = this.#hosts.get(name) ?? { starts: [], mean: firstMean, nextTurn: now };
    this.#hosts.set(name, host);
    if (host.starts.length < this.#most) {
      host.starts.push(now);
      return (end) => this.#release(name, host, now, end);
    }
    // A request that still runs shows how slow the host is.
    const duration = Math.max(host.mean, now - Math.min(...host.starts));
    host.nextTurn = Math.min(
      Math.max(now, host.nextTurn) + duration / this.#most,
      now + longestWait,
    );
    return Math.round(Math.max(host.nextTurn - now, shortestWait));
  }

  #release(name: string, host: Host, start: number, end: number): void {
    host.starts.splice(host.starts.indexOf(start), 1);
    host.mean += weight * (Math.max(0, end - start) - host.mean);
    if (host.starts.length === 0 && this.#hosts.size > mostHosts) this.#hosts.delete(name);
  }
}
