/**
 * The receiver of callbacks in the soak of jobs. It refuses some callbacks at first, and answers some too late for a sender
 * that is killed.
 * Invariant of what it checks: each job reports its end at least once, always under one id, and with a valid signature.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import { makeWebhookSecret } from '../../supervisor/jobs/callbacks/webhook-secrets.ts';
import { openReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts';
import type { Random } from './random.ts';

/** Of how many callbacks one is refused, and one is answered late. */
const refused = 20;
const late = 10;
const longestDelay = 1_500;

export class JobCallbacks {
  readonly secret = makeWebhookSecret();
  readonly #receiver: WebhookReceiver;
  /** The jobs whose callback was answered with 204. */
  readonly #accepted = new Set<string>();
  /** What each callback says, or why its signature is wrong. Verified when it arrives: a signature grows old. */
  readonly #verified = new Map<string, (Ended | string)[]>();

  private constructor(receiver: WebhookReceiver) {
    this.#receiver = receiver;
  }

  static async open(random: Random, cleanup: AsyncDisposableStack): Promise<JobCallbacks> {
    const receiver = await openReceiver({ teardown: (end) => cleanup.defer(() => void end()) });
    const callbacks = new JobCallbacks(receiver);
    receiver.replies = [
      async (response, { target, body, headers }) => {
        const known = callbacks.#verified.get(target) ?? [];
        callbacks.#verified.set(target, [...known, callbacks.#verify(body, headers)]);
        if (random.below(late) === 0) await delay(random.below(longestDelay));
        const refuses = random.below(refused) === 0;
        if (!refuses) callbacks.#accepted.add(target);
        response.writeHead(refuses ? 503 : 204).end();
      },
    ];
    return callbacks;
  }

  get count(): number {
    return this.#receiver.received.length;
  }

  /** The time of the newest callback, in milliseconds since 1970. */
  get last(): number {
    return this.#receiver.received.at(-1)?.at ?? 0;
  }

  /** The `callback_url` of a job. @param index the number of the job */
  urlOf(index: number): string {
    return this.#receiver.url + targetOf(index);
  }

  /** Whether the end of the job was reported, and the report was accepted. */
  isReported(index: number): boolean {
    return this.#accepted.has(targetOf(index));
  }

  #verify(body: string, headers: Record<string, string>): Ended | string {
    try {
      return new Webhook(this.secret).verify(body, headers) as Ended;
    } catch (error) {
      return String(error);
    }
  }

  problemsOf(index: number, id: string, state: string): string[] {
    const all = this.#receiver.received.filter(({ target }) => target === targetOf(index));
    const ids = new Set(all.map(({ headers }) => headers['webhook-id']));
    const wrong = (this.#verified.get(targetOf(index)) ?? []).flatMap((one) => {
      if (typeof one === 'string') return [one];
      return one.type === `job.${state}` && one.data.id === id ? [] : [one.type];
    });
    return [
      ...(this.isReported(index)
        ? []
        : [`its end was not reported, after ${all.length} callbacks`]),
      ...(ids.size > 1 ? [`its end was reported under ${ids.size} ids: ${[...ids]}`] : []),
      ...wrong.map((cause) => `a callback is wrong: ${cause}`),
    ];
  }
}

interface Ended {
  type: string;
  data: { id: string };
}

function targetOf(index: number): string {
  return `/ended/${index}?resume=%7E${index}`;
}
