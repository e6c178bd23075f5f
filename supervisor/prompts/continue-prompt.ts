/**
 * Decides how to continue a prompt that an earlier process of berth has sent: its turn continues in its session, its
 * task is finished in a new turn, or the prompt is sent again. A turn that had ended has its answer in the transcript.
 * Invariants: a turn that had ended does not run again, unless the disk with its commits was lost before they were
 * published: then it continues in its session, which gets its checkout again. While a transcript cannot be read,
 * nothing is decided. Nothing is decided before the processes of the earlier run
 * have ended: the caller takes care of that.
 */
import type { SessionCatalog } from '../sessions/catalog.ts';
import { addUsage, type SessionRecord } from '../sessions/session-record.ts';
import type { SessionStore } from '../sessions/session-store.ts';
import type { Transcripts } from '../sessions/transcripts.ts';
import type { Answer } from './answer.ts';
import { optedOut } from './lost-turn.ts';
import { finishingTurn } from './overtaken-turn.ts';
import type { Prompt, PromptRequest, PromptResolver } from './prompt.ts';
import type { Rates } from './prompt-cost.ts';
import { unreadable } from './resume-prompt.ts';
import { type EndedTurn, turnIn } from './turn-in-transcript.ts';

export interface ContinuationOptions {
  promptResolver: Pick<PromptResolver, 'resolve'>;
  store: Pick<SessionStore, 'read' | 'peek' | 'note'>;
  transcripts: Pick<Transcripts, 'locate'>;
  catalog: Pick<SessionCatalog, 'discard'>;
  rates: Pick<Rates, 'priced'>;
  /** Counts a turn that nobody has counted. */
  spent: (
    token: string,
    profile: string,
    turn: Pick<Answer, 'usage'> & { costUsd: number },
  ) => void;
  /** Publishes what the turn of an earlier process has done, if its caller wants that. */
  finish?: (
    record: SessionRecord,
    request: PromptRequest,
    answer: Answer,
    signal: AbortSignal,
  ) => Promise<Answer>;
  /** Whether the session has lost the checkout from which its commits were to be published. */
  isCheckoutLost?: (record: SessionRecord) => Promise<boolean>;
}

export interface EarlierSend {
  sessionId: string;
  /** Null if the prompt is to be sent again in that session in any case. */
  promptId: string | null;
  /** Whether the turn was cut by the end of berth, and has not come to its end. */
  cut: boolean;
}

/** `lost`: the session of the turn is gone, and the prompt begins another one. */
export type Continued = { answer: Answer } | { prompt: Prompt; lost: boolean };

async function readable<T>(sessionId: string, read: Promise<T>): Promise<T> {
  try {
    return await read;
  } catch (error) {
    throw unreadable(sessionId, error);
  }
}

const fromTranscript =
  'berth was restarted before it had stored the answer: the answer is the one in the transcript, and its cost is estimated';

export class Continuation {
  readonly #options: ContinuationOptions;

  constructor(options: ContinuationOptions) {
    this.#options = options;
  }

  /**
   * @param request of the prompt, as it was before it was sent
   * @param signal ends the publishing of an earlier turn, which the answer then reports as failed
   * @throws BerthError as `PromptResolver.resolve`; `worker_recycled` if the turn was cut or overtaken, and its caller
   *   opted out; `volume_unwritable` if the transcript cannot be read
   */
  async resolve(
    request: PromptRequest,
    sent: EarlierSend,
    signal: AbortSignal,
  ): Promise<Continued> {
    const { promptResolver, store, transcripts } = this.#options;
    const { sessionId, promptId, cut } = sent;
    const record = await store.read(sessionId);
    const isNew = request.fork || request.sessionId?.toLowerCase() !== sessionId.toLowerCase();
    if (record?.token !== request.token) {
      return { prompt: await promptResolver.resolve(request), lost: true };
    }
    const schema = request.fields.output_schema !== undefined;
    const transcript = await readable(record.id, transcripts.locate(record.id));
    if (promptId === null) {
      if (transcript === undefined && isNew) return this.#anew(request, record.id);
      const prompt = await promptResolver.resolve({
        ...request,
        sessionId: record.id,
        fork: false,
      });
      return { prompt, lost: false };
    }
    const turn = await readable(record.id, turnIn(transcript, promptId, schema));
    const isLost = turn.kind === 'ended' && (await this.#hasLostCommits(record, request));
    if (turn.kind === 'ended' && !isLost) {
      const answer = this.#answer(turn, record, promptId);
      const finished = await this.#options.finish?.(record, request, answer, signal);
      return { answer: finished ?? answer };
    }
    if (turn.kind !== 'unknown' && cut && request.onRecycle === 'fail') {
      throw optedOut('berth was restarted', { details: { session_id: record.id } });
    }
    const isUnknownInNew = turn.kind === 'unknown' && isNew;
    // A session that began with the prompt may have the turns of other prompts, and what the first send has done.
    const isUsed = transcript !== undefined && record.turns > 0;
    if (isUnknownInNew && !isUsed) return this.#anew(request, record.id);
    const isOvertaken = turn.kind === 'overtaken' || isUnknownInNew;
    const prompt = await promptResolver.resolve({ ...request, sessionId: record.id, fork: false });
    const changes =
      turn.kind === 'begun' || isLost
        ? { continues: { sessionId: record.id, promptId } }
        : isOvertaken && finishingTurn(request, record.id);
    return { prompt: { ...prompt, ...changes }, lost: false };
  }

  async #hasLostCommits(record: SessionRecord, request: PromptRequest): Promise<boolean> {
    if (!request.publish || request.onRecycle === 'fail') return false;
    return (await this.#options.isCheckoutLost?.(record)) ?? false;
  }

  /** The turn has never begun, or its transcript is lost. */
  async #anew(request: PromptRequest, sessionId: string): Promise<Continued> {
    await this.#options.catalog.discard(sessionId);
    return { prompt: await this.#options.promptResolver.resolve(request), lost: false };
  }

  #answer(turn: EndedTurn, record: SessionRecord, promptId: string): Answer {
    const { usage, numTurns, endedAt } = turn;
    const unpriced = { usage, costUsd: 0, costSeen: false };
    const { costUsd } = this.#options.rates.priced(turn.model, unpriced);
    // A record that was used after the turn had its last message has counted the turn.
    if (Date.parse(record.last_used_at) < endedAt) this.#count(turn, record, costUsd);
    return {
      id: `prompt_${promptId}`,
      session_id: record.id,
      profile: record.profile,
      result: turn.result,
      ...(turn.output === undefined ? {} : { structured_output: turn.output }),
      is_error: false,
      stop_reason: turn.stopReason,
      usage,
      cost_usd: costUsd,
      num_turns: numTurns,
      duration_ms: turn.durationMs,
      queued_ms: 0,
      ttft_ms: null,
      permission_denials: [],
      warnings: [fromTranscript],
      recycled: 0,
      recycle_reason: null,
    };
  }

  #count({ usage, endedAt }: EndedTurn, read: SessionRecord, costUsd: number): void {
    const { store, spent } = this.#options;
    // Another prompt of the session may have ended while the transcript was read.
    const record = store.peek(read.id) ?? read;
    const lastUse = Math.max(endedAt, Date.parse(record.last_used_at));
    store.note({
      ...record,
      last_used_at: new Date(lastUse).toISOString(),
      turns: record.turns + 1,
      cost_usd: record.cost_usd + costUsd,
      usage: addUsage(record.usage, usage),
    });
    spent(record.token, record.profile, { usage, costUsd });
  }
}
