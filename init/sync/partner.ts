/**
 * The supervisor of the same pod, as the init that stays knows it: it is quiet while the volume
 * changes, and judges each commit.
 * Invariants: a supervisor that does not answer delays a change of the volume by `patience` only. A
 * supervisor that joins in the middle of a change learns of it at once.
 */
import type { Peer } from '../../shared/lease.ts';
import { type SyncMessage, type SyncReply, syncReply } from '../../shared/sync-messages.ts';
import { within } from '../../shared/waiting.ts';

export type Verdict = Extract<SyncReply, { kind: 'verdict' }>;

export interface PartnerOptions {
  onVerdict: (verdict: Verdict) => void;
  /** The supervisor asks for its executable configuration to be restored. */
  onRepair: () => void;
  /** Milliseconds to wait for a supervisor to become quiet. The supervisor waits 10 s for its turns. */
  patience?: number;
}

export class Partner {
  readonly #options: PartnerOptions;
  #peer: Peer | undefined;
  /** The message that describes the volume as it is now. */
  #last: SyncMessage | undefined;
  #quiet: (() => void) | undefined;

  constructor(options: PartnerOptions) {
    this.#options = options;
  }

  /** Whether a supervisor works on the volume. */
  get present(): boolean {
    return this.#peer !== undefined && !this.#peer.closed.aborted;
  }

  join(peer: Peer): void {
    this.#peer = peer;
    peer.onMessage((message) => this.#receive(message));
    peer.closed.addEventListener('abort', () => this.#quiet?.(), { once: true });
    if (this.#last) peer.send(this.#last);
  }

  /** Returns when the supervisor is quiet, has ended, or has not answered in time. */
  async begin(commit: string): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#quiet = resolve;
    this.#send({ kind: 'begin', commit });
    if (this.present) await within(promise, this.#options.patience ?? 15_000);
    this.#quiet = undefined;
  }

  /** Announces that the volume is whole and has this commit. */
  end(commit: string): void {
    this.#send({ kind: 'end', commit });
  }

  #send(message: SyncMessage): void {
    this.#last = message;
    if (this.present) this.#peer?.send(message);
  }

  #receive(message: unknown): void {
    const { data: reply } = syncReply.safeParse(message);
    if (reply?.kind === 'quiet') this.#quiet?.();
    else if (reply?.kind === 'verdict') this.#options.onVerdict(reply);
    else if (reply?.kind === 'repair') this.#options.onRepair();
  }
}
