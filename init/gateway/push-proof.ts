/**
 * Watches the pack of a push, and lets it pass as a whole only if the push forces nothing: each branch
 * that exists must be an ancestor of its new commit.
 * Invariants: the proof comes from the commits of the pack and, for those in between that the server has
 * already, from the server. Before the proof only commits pass that have been read, never a whole pack:
 * the next object or the checksum is held, whatever the client sends behind it.
 */
import { BerthError, messageOf } from '../../shared/errors.ts';
import { CommitScan, descent, type History } from './ancestry.ts';
import { type PushCommand, zero } from './push-commands.ts';
import type { Place } from './repository-pattern.ts';
import type { Upstream } from './upstream.ts';
import { readHistory } from './upstream-refs.ts';

export interface PushProofOptions {
  place: Place;
  upstream: Upstream;
  commands: readonly PushCommand[];
  signal: AbortSignal;
}

/** Commits about which the server is asked. */
const mostWanted = 100;

const forced =
  'the push would remove commits of the branch, or its history cannot be checked; merge the branch of the server first, or push to a new branch';

export class PushProof {
  /** The refs without a proof, with the reason. */
  readonly refused = new Map<string, string>();
  /** Why the server could not be asked. */
  failure: BerthError | undefined;
  readonly #options: PushProofOptions;
  readonly #updates: readonly PushCommand[];

  constructor(options: PushProofOptions) {
    this.#options = options;
    this.#updates = options.commands.filter(({ old }) => old !== zero);
  }

  /** Passes the pack on. @throws Error behind the commits, if there is no proof */
  async *watch(pack: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
    if (this.#updates.length === 0) {
      yield* pack;
      return;
    }
    const scan = new CommitScan();
    let held: Buffer[] = [];
    let passed = 0;
    let isProven = false;
    for await (const chunk of pack) {
      if (isProven) {
        yield chunk;
        continue;
      }
      held.push(chunk);
      this.#scan(() => scan.add(chunk));
      if (scan.done) {
        await this.#prove(scan.history);
        isProven = true;
        yield* held;
        held = [];
      } else if (scan.consumed > passed) {
        const all = Buffer.concat(held);
        const free = scan.consumed - passed;
        yield all.subarray(0, free);
        held = [all.subarray(free)];
        passed = scan.consumed;
      }
    }
    if (isProven) return;
    this.#scan(() => scan.finish());
    await this.#prove(scan.history);
    yield* held;
  }

  async #prove(history: History): Promise<void> {
    for (const command of this.#updates) await this.#check(command, history);
    if (this.refused.size > 0 || this.failure) throw new Error('the push has no proof');
  }

  #scan(read: () => void): void {
    try {
      read();
    } catch (error) {
      const why = `the pack cannot be read: ${messageOf(error)}; push again with git`;
      for (const { ref } of this.#updates) this.refused.set(ref, why);
      throw error;
    }
  }

  async #check({ old, new: to, ref }: PushCommand, history: History): Promise<void> {
    const { place, upstream, signal } = this.#options;
    const own = descent(to, old, history);
    if (own.proven) return;
    // The commits in between may be on the server already, as after a merge there.
    const wanted = own.unknown.slice(0, mostWanted);
    try {
      const isKnown = await readHistory(upstream, place, { wanted, old, history }, signal);
      if (isKnown && descent(to, old, history).proven) return;
    } catch (error) {
      if (!(error instanceof BerthError)) throw error;
      this.failure = error;
      return;
    }
    this.refused.set(ref, forced);
  }
}
