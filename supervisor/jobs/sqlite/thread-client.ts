/**
 * Calls the thread of the store.
 * Invariants: a call ends at its deadline at the latest. The thread does not keep the process alive, except during calls.
 */
import { Worker } from 'node:worker_threads';
import { BerthError, messageOf } from '../../../shared/errors.ts';
import { threadEnvironment } from '../../../shared/thread-environment.ts';
import type { Call, Calls, FromThread, Notice, Reply } from './protocol.ts';

/** Next to this file in the sources, and next to the bundle. */
const file = `./job-thread${import.meta.url.endsWith('.ts') ? '.ts' : '.mjs'}`;

const limits = { maxOldGenerationSizeMb: 512, maxYoungGenerationSizeMb: 16 };

/** The maximum time of a call, in milliseconds: a disk can stall for long. */
const deadline = 60_000;
/** The same for opening and rescuing, which read the whole file. */
const openDeadline = 600_000;

interface Pending {
  resolve: (value: unknown) => void;
  reject: (error: BerthError) => void;
  timer: NodeJS.Timeout;
}

export class ThreadClient {
  onNotice: (notice: Notice) => void = () => {};
  readonly #pending = new Map<number, Pending>();
  #thread: Worker | undefined;
  #last = 0;

  /** @throws BerthError `job_store_unavailable`; its `details.reason` is `closed` if the thread has ended */
  call<K extends keyof Calls>(
    name: K,
    ...args: Parameters<Calls[K]>
  ): Promise<ReturnType<Calls[K]>> {
    this.#thread ??= this.#start();
    const thread = this.#thread;
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const after = name === 'open' || name === 'rescue' ? openDeadline : deadline;
      const timer = setTimeout(() => this.#settle(late(id, after)), after);
      this.#pending.set(id, { resolve: resolve as Pending['resolve'], reject, timer });
      thread.ref();
      thread.postMessage({ id, name, args } satisfies Call);
    });
  }

  async end(): Promise<void> {
    const thread = this.#thread;
    this.#thread = undefined;
    await thread?.terminate();
    this.#fail('it was closed');
  }

  #start(): Worker {
    const thread = new Worker(new URL(file, import.meta.url), {
      resourceLimits: limits,
      env: threadEnvironment(),
    });
    thread.on('message', (message: FromThread) => {
      if ('notice' in message) this.onNotice(message.notice);
      else for (const reply of message.replies) this.#settle(reply);
    });
    let cause = 'it ended';
    thread.on('error', (error) => {
      cause = messageOf(error);
    });
    thread.once('exit', () => {
      if (this.#thread !== thread) return;
      this.#thread = undefined;
      this.#fail(cause);
    });
    return thread;
  }

  #settle(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    if (!pending) return;
    this.#pending.delete(reply.id);
    clearTimeout(pending.timer);
    if (this.#pending.size === 0) this.#thread?.unref();
    if ('value' in reply) pending.resolve(reply.value);
    else {
      const { code, message, details } = reply.error;
      pending.reject(new BerthError(code, message, { details }));
    }
  }

  #fail(cause: string): void {
    const message = `cannot use the jobs on the volume: the thread of the store failed (${cause}); retry`;
    const error = {
      code: 'job_store_unavailable' as const,
      message,
      details: { reason: 'closed' },
    };
    for (const id of [...this.#pending.keys()]) this.#settle({ id, error });
  }
}

function late(id: number, milliseconds: number): Reply {
  const message = `cannot use the jobs on the volume: the disk did not answer within ${milliseconds / 1_000} s; check the volume`;
  return { id, error: { code: 'job_store_unavailable', message, details: { reason: 'late' } } };
}
