/**
 * Checks whether the CLI accepts a caller's JSON Schema; the CLI does not start with a schema that
 * it rejects. Compiling a schema can take a second, so a thread does it.
 * Invariants: at most one thread exists, and none after a while without checks. A check ends at its
 * deadline, which includes the wait for earlier checks. A schema that was not compiled in time is
 * passed to the CLI, which checks it again.
 */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { LRUCache } from 'lru-cache';
import { SerialQueue } from '../../shared/serial-queue.ts';
import { threadEnvironment } from '../../shared/thread-environment.ts';

export type Verdict = { kind: 'right' | 'unknown' } | { kind: 'wrong'; cause: string };

export interface SchemaCheckOptions {
  /** The maximum time from the request to the verdict, in milliseconds. */
  deadline?: number;
  /** Milliseconds without a check after which the thread ends. */
  idle?: number;
}

/** Valid schemas by digest: callers send the same schema with each prompt. */
const mostKnown = 1_000;

const limits = {
  maxOldGenerationSizeMb: 128,
  maxYoungGenerationSizeMb: 16,
  // A schema with thousands of properties is compiled to code that is nested as deeply.
  stackSizeMb: 16,
};

/** Next to this file, in the sources and in the bundle. */
const file = `./schema-thread${import.meta.url.endsWith('.ts') ? '.ts' : '.mjs'}`;

export class SchemaCheck {
  readonly #deadline: number;
  readonly #idle: number;
  readonly #known = new LRUCache<string, true>({ max: mostKnown });
  #thread: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The thread compiles one schema at a time. */
  readonly #queue = new SerialQueue();

  constructor({ deadline = 3_000, idle = 10_000 }: SchemaCheckOptions = {}) {
    this.#deadline = deadline;
    this.#idle = idle;
  }

  /** Never rejects. The schema's cost must be bounded before: see schema-cost.ts. */
  async check(schema: object): Promise<Verdict> {
    const digest = createHash('sha256').update(JSON.stringify(schema)).digest('base64');
    if (this.#known.get(digest)) return { kind: 'right' };
    const end = performance.now() + this.#deadline;
    const verdict = await this.#queue.add(() => this.#compile(schema, end));
    if (verdict.kind === 'right') this.#known.set(digest, true);
    return verdict;
  }

  /** @param end a time of performance.now() */
  async #compile(schema: object, end: number): Promise<Verdict> {
    const left = end - performance.now();
    if (left <= 0) return { kind: 'unknown' };
    const signal = AbortSignal.timeout(Math.ceil(left));
    clearTimeout(this.#timer);
    try {
      this.#thread ??= this.#start();
      const thread = this.#thread;
      thread.ref();
      const answered = once(thread, 'message', { signal });
      thread.postMessage(schema);
      const [verdict] = await answered;
      thread.unref();
      this.#timer = setTimeout(() => void this.#end(), this.#idle).unref();
      return verdict as Verdict;
    } catch {
      // Too slow, out of memory, or the system cannot start a thread.
      await this.#end();
      return { kind: 'unknown' };
    }
  }

  #start(): Worker {
    const started = new Worker(new URL(file, import.meta.url), {
      resourceLimits: limits,
      env: threadEnvironment(),
    });
    // A thread that fails between two checks has no other listener.
    started.on('error', () => {});
    started.once('exit', () => {
      if (this.#thread === started) this.#thread = undefined;
    });
    return started;
  }

  async #end(): Promise<void> {
    clearTimeout(this.#timer);
    const ended = this.#thread;
    this.#thread = undefined;
    await ended?.terminate();
  }
}
