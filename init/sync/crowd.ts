/**
 * Bounds the number of connections, or of requests, of unauthenticated clients at a time.
 * Invariants: a newcomer always finds room. If there are too many, the oldest one of the address that
 * has the most is dropped. So an address with many of them loses only its own.
 */
export class Crowd {
  readonly #most: number;
  /** What ends each one, with its address; the oldest first. */
  readonly #members = new Map<() => void, string>();

  constructor(most: number) {
    this.#most = most;
  }

  /** Returns the function that takes the newcomer out. @param drop ends it, if there are too many */
  enter(address: string | undefined, drop: () => void): () => void {
    if (this.#members.size >= this.#most) this.#dropOne();
    this.#members.set(drop, address ?? '');
    return () => void this.#members.delete(drop);
  }

  #dropOne(): void {
    const groups = [...Map.groupBy(this.#members, ([, address]) => address).values()];
    const largest = groups.reduce((one, other) => (other.length > one.length ? other : one));
    const [drop] = largest[0] ?? [];
    if (!drop) return;
    this.#members.delete(drop);
    drop();
  }
}
