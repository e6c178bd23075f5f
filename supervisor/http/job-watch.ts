/**
 * Waits for changes of one job, for long polls and for streams of events.
 * Invariants: a change between two waits is not missed. A wait ends after a few seconds without a change too, since
 * reports of other replicas may get lost. Changes are bundled, so that each reads the store a few times a second at most.
 */
import { pause } from '../../shared/waiting.ts';
import { Wake } from '../../shared/wake.ts';
import { isEnd, type Job } from '../jobs/job.ts';
import type { Jobs } from '../jobs/jobs.ts';

/** Milliseconds. */
const longestQuiet = 5_000;
const shortestPause = 100;

export class JobWatch {
  readonly #end: () => void;
  readonly #wake = new Wake();
  #last = -Infinity;

  constructor(jobs: Pick<Jobs, 'onChange'>, id: string) {
    this.#end = jobs.onChange((changed) => {
      if (changed === undefined || changed === id) this.#wake.wake();
    });
  }

  /** Resolves after the next change since the last call, after a few seconds, or when the signal aborts. */
  async next(signal: AbortSignal): Promise<void> {
    await this.#wake.wait(longestQuiet, signal);
    await pause(Math.max(0, this.#last + shortestPause - performance.now()), signal);
    // The caller reads the job after this call: the read sees the changes of the pause.
    this.#wake.clear();
    this.#last = performance.now();
  }

  close(): void {
    this.#end();
  }
}

/**
 * @returns the job when it has ended, or as it is when the signal aborts
 * @throws BerthError `job_not_found`, also if the job is removed meanwhile; `job_store_unavailable`
 */
export async function readEnded(
  jobs: Pick<Jobs, 'read' | 'readHead' | 'onChange'>,
  id: string,
  token: string,
  signal: AbortSignal,
): Promise<Job> {
  const watch = new JobWatch(jobs, id);
  try {
    for (;;) {
      const { state } = await jobs.readHead(id, token);
      if (isEnd(state) || signal.aborted) return await jobs.read(id, token);
      await watch.next(signal);
    }
  } finally {
    watch.close();
  }
}
