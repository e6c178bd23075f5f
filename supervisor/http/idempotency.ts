/**
 * `Idempotency-Key` on prompts: within a time window, a repeated prompt gets the answer of the
 * first prompt and is not run again. The answers are kept only in memory: a restart loses them.
 * Invariants: keys of different token names are separate. The number and size of the answers of
 * each name are bounded; the oldest are removed first. Retryable errors are not kept.
 */
import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { asBerthError, BerthError } from '../../shared/errors.ts';
import type { Answer } from '../prompts/answer.ts';
import type { RunsPrompts } from '../prompts/prompts.ts';

interface Kept {
  /** SHA-256 of the payload. */
  payload: string;
  /** Undefined while the first prompt runs. */
  outcome: Answer | BerthError | undefined;
}

/** The keys of one token's name. */
interface Shelf {
  running: Map<string, Kept>;
  answered: LRUCache<string, Kept>;
}

export interface IdempotencyOptions {
  /** Milliseconds for which an answer is kept; 0 keeps none. */
  window: number;
  /** For each name. */
  mostKeys?: number;
  mostBytes?: number;
  now?: () => number;
}

/** A request with a key. */
export interface Once {
  /** The name of the caller's token. */
  token: string;
  key: string;
  payload: unknown;
  /** Called before an earlier outcome is given again. */
  onReplay: () => void;
}

const longestKey = 255;

export class Idempotency {
  readonly #options: Required<IdempotencyOptions>;
  readonly #shelves = new Map<string, Shelf>();

  constructor(options: IdempotencyOptions) {
    this.#options = {
      mostKeys: 1_000,
      mostBytes: 8 * 1024 ** 2,
      now: () => performance.now(),
      ...options,
    };
  }

  /** Wraps `sessions` so that the prompt of this request runs once. */
  guard(sessions: RunsPrompts, once: Once): RunsPrompts {
    return { run: (...prompt) => this.#once(once, () => sessions.run(...prompt)) };
  }

  /** @throws BerthError `idempotency_conflict`, `idempotency_mismatch`, or the outcome itself */
  async #once({ token, key, payload, onReplay }: Once, run: () => Promise<Answer>) {
    const { running, answered } = this.#shelfOf(token);
    const digest = digestOf(payload);
    const earlier = running.get(key) ?? answered.peek(key);
    if (earlier) {
      if (earlier.payload !== digest) throw mismatch(key);
      if (earlier.outcome === undefined) throw conflict(key);
      onReplay();
      if (earlier.outcome instanceof BerthError) throw earlier.outcome;
      return earlier.outcome;
    }
    running.set(key, { payload: digest, outcome: undefined });
    const outcome = await run().catch(asBerthError);
    running.delete(key);
    if (this.#options.window > 0 && isFinal(outcome)) {
      answered.set(key, { payload: digest, outcome });
    }
    if (outcome instanceof BerthError) throw outcome;
    return outcome;
  }

  #shelfOf(token: string): Shelf {
    let shelf = this.#shelves.get(token);
    if (!shelf) {
      const { window, mostKeys, mostBytes, now } = this.#options;
      const answered = new LRUCache<string, Kept>({
        ...{ max: mostKeys, maxSize: mostBytes, sizeCalculation: bytesOf },
        ...{ ttl: window, ttlResolution: 0, perf: { now } },
      });
      shelf = { running: new Map(), answered };
      this.#shelves.set(token, shelf);
    }
    shelf.answered.purgeStale();
    return shelf;
  }
}

/**
 * The key of the header: `"quoted"`, as the draft of the IETF has it, or bare.
 * @throws BerthError `invalid_request`
 */
export function readKey(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const quoted = /^"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])+)"$/.exec(header)?.[1];
  const bare = /^[\x21\x23-\x7e]+$/.exec(header)?.[0];
  const key = quoted?.replaceAll(/\\(["\\])/g, '$1') ?? bare;
  if (key !== undefined && key.length <= longestKey) return key;
  throw new BerthError(
    'invalid_request',
    `cannot use the Idempotency-Key: it is no text of 1 to ${longestKey} characters of ASCII; send a UUID, or an id of your own for this prompt`,
  );
}

/**
 * Whether the same prompt would end with the same result. An error that a person can fix (503: no
 * login) or must examine (500) is not final: the same prompt may succeed later.
 */
function isFinal(outcome: Answer | BerthError): boolean {
  if (!(outcome instanceof BerthError)) return true;
  return (
    !outcome.retryable && outcome.status !== 401 && outcome.status !== 500 && outcome.status !== 503
  );
}

/** A text may take two bytes for each of its characters. */
function bytesOf({ outcome }: Kept): number {
  const text = outcome instanceof BerthError ? outcome.message : JSON.stringify(outcome);
  return 2 * text.length + 1_024;
}

/** SHA-256 of a body; it does not depend on the sequence of the keys. */
export function digestOf(payload: unknown): string {
  return createHash('sha256').update(canonical(payload)).digest('base64');
}

/** JSON text that does not depend on the sequence of the keys. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}

function conflict(key: string): BerthError {
  return new BerthError(
    'idempotency_conflict',
    `cannot accept the prompt: a prompt with the Idempotency-Key ${JSON.stringify(key)} is still running; send it again later to get its answer`,
    { details: { retry_after: 5 } },
  );
}

function mismatch(key: string): BerthError {
  return new BerthError(
    'idempotency_mismatch',
    `cannot accept the prompt: the Idempotency-Key ${JSON.stringify(key)} was used for another prompt; use a new key for each prompt`,
  );
}
