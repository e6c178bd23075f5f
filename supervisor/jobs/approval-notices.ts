/**
 * Sends each question of an approval to the webhook of its profile, with a link that decides it.
 * Invariants: the message is signed like a callback and has the same id over all its requests. It is sent again until the
 * receiver accepts it, has refused it several times in a row, or the approval has ended. What was accepted is not sent again after a restart.
 * The webhook is that of the profile at each request: what was given up begins again when the profiles change.
 */
import { type Backoff, backoff } from '../../shared/backoff.ts';
import { messageOf } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { pause } from '../../shared/waiting.ts';
import type { ProfileApprovals } from '../profiles/profile.ts';
import { approvalView } from './approval-view.ts';
import type { Approvals, KnownApproval } from './approvals.ts';

export interface NoticesOptions {
  approvals: Pick<Approvals, 'pending' | 'isOpen' | 'newKey' | 'notified' | 'open'>;
  rulesOf: (profile: string) => ProfileApprovals | undefined;
  /** @returns the HTTP status. @throws Error whose message is for people and has no path of the URL */
  send: (
    url: string,
    message: { id: string; body: string },
    signal: AbortSignal,
  ) => Promise<number>;
  /** Where people reach berth, without a slash at its end; undefined: messages have no link. */
  publicUrl: string | undefined;
  onSent?: ((outcome: 'delivered' | 'retried' | 'failed') => void) | undefined;
  log: Log;
  /** Milliseconds between two requests. */
  pauses?: Backoff;
}

const pauses = { first: 2_000, longest: 60_000, jitter: 0.3 };
/** Answers that another request will not change. */
const hopeless = new Set([400, 401, 403, 404, 410]);
/** Such answers in a row, after which the message is given up: a receiver may be restarting. */
const mostRefusals = 5;

export class ApprovalNotices {
  readonly #options: NoticesOptions;
  readonly #stopping = new AbortController();
  readonly #running = new Map<string, Promise<void>>();
  /** Questions that no webhook has accepted, by the id of the approval. */
  readonly #unaccepted = new Map<string, KnownApproval>();
  #starting: Promise<void> | undefined;

  constructor(options: NoticesOptions) {
    this.#options = options;
  }

  /** Sends what an earlier process has not sent, as soon as the store can be read; never rejects. */
  start(): Promise<void> {
    this.#starting ??= this.#sendEarlier();
    return this.#starting;
  }

  /** Sends the question in the background, if the profile has a webhook. */
  send(known: KnownApproval): void {
    const { id, notified } = known.approval;
    if (notified || this.#stopping.signal.aborted) return;
    this.#forgetExpired();
    // Only the data: what waits for the decision is not kept.
    const { approval, context } = known;
    this.#unaccepted.set(id, { approval, context });
    this.#begin(known, () => this.#deliver(known));
  }

  /** Sends again what was given up, or had no webhook. Call it when the profiles have changed. */
  review(): void {
    this.#forgetExpired();
    for (const known of this.#unaccepted.values()) {
      this.#begin(known, async () => {
        if (await this.#isOpen(known.approval.id)) await this.#deliver(known);
        else this.#unaccepted.delete(known.approval.id);
      });
    }
  }

  #begin(known: KnownApproval, work: () => Promise<void>): void {
    const { id } = known.approval;
    if (this.#webhookOf(known) === undefined || this.#running.has(id)) return;
    if (this.#stopping.signal.aborted) return;
    const running = work()
      .catch((error: unknown) =>
        this.#options.log.error('failed', 'a notice has failed', { error }),
      )
      .finally(() => this.#running.delete(id));
    this.#running.set(id, running);
  }

  #webhookOf({ context }: KnownApproval): string | undefined {
    return this.#options.rulesOf(context.profile)?.webhook;
  }

  #forgetExpired(): void {
    const now = Date.now();
    for (const [id, { approval }] of this.#unaccepted) {
      if (approval.expiresAt <= now) this.#unaccepted.delete(id);
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#starting;
    await Promise.all(this.#running.values());
  }

  async #sendEarlier(): Promise<void> {
    const { approvals, log } = this.#options;
    const { signal } = this.#stopping;
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        for (const known of await approvals.pending()) this.send(known);
        return;
      } catch (error) {
        const retry_ms = Math.round(backoff(failures, pauses));
        const text = 'cannot list the approvals whose request was not sent; berth retries';
        if (failures === 1)
          log.warn('approval_unsent', text, { cause: messageOf(error), retry_ms });
        await pause(retry_ms, signal);
      }
    }
  }

  async #deliver(known: KnownApproval): Promise<void> {
    const { approvals, publicUrl } = this.#options;
    const { signal } = this.#stopping;
    const { id, askedAt, expiresAt } = known.approval;
    let body: string | undefined;
    let refusals = 0;
    let refusing: string | undefined;
    for (let attempt = 1; !signal.aborted && Date.now() < expiresAt; attempt++) {
      const url = this.#webhookOf(known);
      if (url === undefined) return;
      if (url !== refusing) refusals = 0;
      refusing = url;
      let status: number | undefined;
      let cause = '';
      try {
        body ??= JSON.stringify({
          type: 'approval.requested',
          timestamp: new Date(askedAt).toISOString(),
          data: {
            ...approvalView(known, false),
            url: publicUrl && `${publicUrl}/approvals/${id}/${await approvals.newKey(id)}`,
          },
        });
        status = await this.#options.send(url, { id: `${id}_requested`, body }, signal);
        if (status >= 200 && status < 300) return await this.#accepted(id, url, status, attempt);
        cause = `the answer is ${status}`;
      } catch (error) {
        if (signal.aborted) return;
        cause = messageOf(error);
      }
      refusals = status !== undefined && hopeless.has(status) ? refusals + 1 : 0;
      // The profile may have changed during the request.
      const isOver = refusals >= mostRefusals && this.#webhookOf(known) === url;
      const retry_ms = Math.round(backoff(attempt, this.#options.pauses ?? pauses));
      this.#unsent(
        { approval_id: id, host: hostOf(url), status, attempts: attempt, cause },
        isOver,
        retry_ms,
      );
      if (isOver) return;
      if (!(await this.#isOpen(id))) {
        this.#unaccepted.delete(id);
        return;
      }
      await pause(retry_ms, signal);
    }
  }

  async #accepted(id: string, url: string, status: number, attempts: number): Promise<void> {
    const { approvals, log, onSent } = this.#options;
    onSent?.('delivered');
    const text = 'the webhook has accepted the question of an approval';
    log.info('approval_sent', text, { approval_id: id, host: hostOf(url), status, attempts });
    this.#unaccepted.delete(id);
    await approvals.notified(id);
  }

  #unsent(fields: Record<string, unknown>, isOver: boolean, retry_ms: number): void {
    const { log, onSent } = this.#options;
    onSent?.(isOver ? 'failed' : 'retried');
    if (isOver) {
      const text = 'the question of an approval is given up; correct the webhook of the profile';
      log.error('approval_unsent', text, fields);
    } else {
      const text = 'the question of an approval was not accepted; it is sent again';
      log.warn('approval_unsent', text, { ...fields, retry_ms });
    }
  }

  async #isOpen(id: string): Promise<boolean> {
    try {
      return await this.#options.approvals.isOpen(id);
    } catch {
      return true;
    }
  }
}

function hostOf(url: string): string {
  return URL.parse(url)?.host ?? '';
}
