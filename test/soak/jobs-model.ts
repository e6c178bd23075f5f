/**
 * The Messages API in the soak of jobs: answers the jobs, and notes which of their requests reach the model.
 * A request is known by the text `the job <number>:` in the first prompt of its session.
 */
import { carryOn } from '../../supervisor/prompts/resume-prompt.ts';
import { startMessagesApi } from '../support/messages-api.ts';
import type { Random } from './random.ts';

export interface ModelRequest {
  /** In milliseconds since 1970. */
  at: number;
  /** Nothing was answered in the session yet. */
  isFirst: boolean;
  /** The turn was continued after a kill. */
  isContinued: boolean;
}

const continuation = JSON.stringify(carryOn).slice(1, -1);

export class JobsModel {
  readonly #requests = new Map<number, ModelRequest[]>();
  /** The time of the newest request, in milliseconds since 1970. */
  last = Date.now();
  url = '';

  static async start(cleanup: AsyncDisposableStack): Promise<JobsModel> {
    const api = await startMessagesApi();
    cleanup.defer(() => api.close());
    const model = new JobsModel();
    model.url = api.url;
    api.reply(({ body }) => {
      model.#note(JSON.stringify(body?.messages ?? []));
      return undefined;
    });
    return model;
  }

  #note(messages: string): void {
    const job = Number(/the job (\d+):/.exec(messages)?.[1] ?? Number.NaN);
    this.last = Date.now();
    const request = {
      at: this.last,
      isFirst: !messages.includes('"assistant"'),
      isContinued: messages.includes(continuation),
    };
    this.#requests.set(job, [...this.requestsOf(job), request]);
  }

  /** The oldest first. */
  requestsOf(job: number): readonly ModelRequest[] {
    return this.#requests.get(job) ?? [];
  }

  get hasRequests(): boolean {
    return this.#requests.size > 0;
  }

  /** Jobs whose turn was continued after a kill. */
  get continued(): number {
    return [...this.#requests.values()].filter((all) => all.some((one) => one.isContinued)).length;
  }

  /** First requests beyond the first one of each job: their turns had not ended. */
  get repeated(): number {
    const firsts = [...this.#requests.values()].map(
      (all) => all.filter(({ isFirst }) => isFirst).length,
    );
    return firsts.reduce((sum, count) => sum + Math.max(0, count - 1), 0);
  }
}

/**
 * The prompt of a job. Half of the jobs run for some seconds, so that kills strike in the middle of their turns.
 * @param isLong the turn lasts two seconds or more, and uses a tool
 */
export function promptOf(index: number, random: Random, isLong = false): string {
  const work = isLong
    ? `[[slow 300]] [[tool Bash {"command":"sleep 1.5; echo ${index}"}]]`
    : workOf(index, random);
  return `the job ${index}: ${work}`;
}

function workOf(index: number, random: Random): string {
  switch (random.below(4)) {
    case 0:
      return `[[slow 300]] [[say done ${index}]]`;
    case 1:
      return `[[tool Bash {"command":"sleep 1.5; echo ${index}"}]]`;
    default:
      return `[[say done ${index}]]`;
  }
}
