/**
 * Waits for the end of a job, and reports its progress meanwhile.
 * Invariants: a wait ends at its bound, when the client has gone, and when the server begins to stop. The job runs on in
 * each of these cases. At least every few seconds there is a report, so that a client whose timeout counts silence waits.
 */
import { isEnd, type Job } from '../../jobs/job.ts';
import type { JobEvent } from '../../jobs/job-store.ts';
import { JobWatch, readEnded } from '../job-watch.ts';
import type { JobParts } from '../jobs.ts';
import type { ToolCall } from './tool.ts';

/**
 * @param wait milliseconds
 * @returns the job as it is at the end of the wait
 * @throws BerthError `job_not_found`, `job_store_unavailable`
 */
export async function followJob(
  { jobs, stopping }: Pick<JobParts, 'jobs' | 'stopping'>,
  id: string,
  wait: number,
  { caller: { token }, signal, progress }: ToolCall,
): Promise<Job> {
  if (wait === 0) return jobs.read(id, token);
  const over = AbortSignal.any([stopping, signal, AbortSignal.timeout(wait)]);
  if (!progress) return readEnded(jobs, id, token, over);
  const watch = new JobWatch(jobs, id);
  const story = new Story();
  try {
    for (let after = 0; ; ) {
      const { state, events } = await jobs.events(id, after, token);
      if (isEnd(state) || over.aborted) return await jobs.read(id, token);
      after = events.at(-1)?.id ?? after;
      await progress(story.describe(state, events));
      await watch.next(over);
    }
  } finally {
    watch.close();
  }
}

/** What a job does now, in a few words. */
class Story {
  #characters = 0;
  #now: string | undefined;

  describe(state: string, events: readonly JobEvent[]): string {
    for (const { event, data } of events) this.#note(event, data as Record<string, unknown>);
    return state === 'running' ? (this.#now ?? 'The job runs') : `The job is ${state}`;
  }

  #note(event: string, data: Record<string, unknown>): void {
    if (event === 'text') {
      this.#characters += String(data.text ?? '').length;
      this.#now = `The answer has ${this.#characters} characters so far`;
    } else if (event === 'tool') this.#now = `Uses the tool ${String(data.name).slice(0, 100)}`;
    else if (event === 'tool_result') this.#now = 'The model works';
    else if (event === 'retry') this.#now = 'The model API failed; the CLI tries again';
    else if (event === 'recycled') this.#now = 'The job continues in another process';
    else if (event === 'state') this.#now = undefined;
  }
}
