/**
 * Decides what follows the loss of a worker during a turn: the turn is continued in another process
 * that resumes the session, or the prompt ends with an error.
 * Invariants: nothing is tried before all processes of the lost worker have ended. A session that had the prompt once
 * is never removed, and the prompt is not sent again: its tools have run. The same holds while the transcript cannot be
 * read.
 */
import { asBerthError, type BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { abortable, sleep } from '../../shared/waiting.ts';
import type { ProcessSpec } from '../pool/process-spec.ts';
import type { RecordKeeper } from '../sessions/record-keeper.ts';
import type { Transcripts } from '../sessions/transcripts.ts';
import type { LivePrompt } from './live-prompts.ts';
import { describeLoss, optedOut, type TurnLost } from './lost-turn.ts';
import type { TurnMeters } from './meters.ts';
import type { Prompt } from './prompt.ts';
import type { PromptCost } from './prompt-cost.ts';
import { carryOn, isInTranscript, unreadable } from './resume-prompt.ts';
import type { TurnEvent } from './turn.ts';

/** One attempt to answer a prompt. */
export interface Attempt {
  spec: ProcessSpec;
  /** Absent: the text of the prompt, or the one that continues its turn, as it is when the prompt has its worker. */
  text?: string;
  /** Whether this attempt continues a turn that had begun; false if it sends the prompt from the beginning. */
  continues: boolean;
}

export interface RecoveryOptions {
  /** `of`: the process that a prompt needs. @param resume the session whose process was lost */
  specs: { of: (prompt: Prompt, resume?: string) => ProcessSpec };
  transcripts: Pick<Transcripts, 'locate'>;
  /** `discard` removes the rest of a session without a turn; it never rejects. */
  catalog: { discard: (sessionId: string) => Promise<void> };
  meters: TurnMeters;
  /** Milliseconds in which a transcript that cannot be read is read again; 5,000 if absent. */
  patience?: number;
  log: Log;
}

/** Milliseconds. */
const usualPatience = 5_000;
const betweenReads = 250;

export class Recovery {
  readonly #options: RecoveryOptions;
  readonly #live: LivePrompt;
  readonly #cost: PromptCost;
  readonly #keeper: RecordKeeper;
  /** The session that is known to have the prompt. */
  #holder: string | undefined;

  constructor(options: RecoveryOptions, live: LivePrompt, cost: PromptCost, keeper: RecordKeeper) {
    this.#options = options;
    this.#live = live;
    this.#cost = cost;
    this.#keeper = keeper;
    this.#holder = live.prompt.continues?.sessionId;
  }

  /**
   * @returns the attempt that continues the turn, or sends the prompt again if the transcript does not have it
   * @throws the reason of an interrupt; BerthError `volume_unwritable` if the transcript cannot be read
   */
  async next(lost: TurnLost, emit: (event: TurnEvent) => void): Promise<Attempt> {
    const { log, specs, meters } = this.#options;
    const { worker, reason } = lost;
    const { sessionId } = worker;
    meters.lost(reason, true);
    this.#live.recycled += 1;
    this.#live.recycleReason = reason;
    log.warn(
      'turn_carried_on',
      `${worker.name} was lost (${reason}); the turn continues in another process`,
      {
        worker: worker.name,
        reason,
        session_id: sessionId,
      },
    );
    emit({ event: 'recycled', data: { reason, session_id: sessionId ?? null } });
    const resumable = await this.#settle(lost);
    const prompt = this.#cost.left();
    const spec = specs.of(prompt, resumable ? sessionId : undefined);
    return { spec, text: resumable ? carryOn : prompt.text, continues: resumable };
  }

  /** @returns the error of a prompt whose turn is not continued. @throws the reason of an interrupt */
  async giveUp(lost: TurnLost): Promise<BerthError> {
    const { reason, error } = lost;
    this.#options.meters.lost(reason, false);
    await this.#settle(lost).catch((thrown: unknown) => {
      // The session stays if its transcript cannot be read.
      if (asBerthError(thrown).code !== 'volume_unwritable') throw thrown;
    });
    return this.#live.prompt.onRecycle === 'fail' ? optedOut(describeLoss(reason), error) : error;
  }

  /**
   * Counts what the lost turn has used, and waits until all that its worker had started has ended.
   * @returns whether the session can be resumed and has the prompt. A session that began with this turn and
   *   cannot be resumed is removed.
   */
  async #settle(lost: TurnLost): Promise<boolean> {
    const { worker, promptIds } = lost;
    const { sessionId } = worker;
    this.#cost.lost(lost);
    this.#live.become('recovering');
    await abortable(worker.gone, this.#live.signal);
    if (sessionId === undefined) return false;
    // The text that continues the turn need not be there: the prompt itself is.
    if (sessionId === this.#holder) return true;
    if (await this.#isWritten(sessionId, promptIds)) {
      this.#holder = sessionId;
      return true;
    }
    if (this.#isNew(sessionId)) {
      await this.#keeper.forget(sessionId);
      await this.#options.catalog.discard(sessionId);
      worker.sessionId = undefined;
    }
    return false;
  }

  /**
   * Whether the transcript of the session has one of the texts.
   * @throws BerthError `volume_unwritable` if the transcript cannot be read for some seconds; the reason of an interrupt
   */
  async #isWritten(sessionId: string, promptIds: readonly string[]): Promise<boolean> {
    const { signal } = this.#live;
    const { transcripts, patience = usualPatience } = this.#options;
    const read = async (): Promise<boolean> => {
      const transcript = await transcripts.locate(sessionId);
      return transcript !== undefined && isInTranscript(transcript, promptIds);
    };
    for (const end = performance.now() + patience; ; ) {
      try {
        return await abortable(read(), signal);
      } catch (error) {
        signal.throwIfAborted();
        if (performance.now() >= end) throw unreadable(sessionId, error);
        await sleep(betweenReads, signal);
      }
    }
  }

  #isNew(sessionId: string): boolean {
    const { record, fork } = this.#live.prompt;
    return fork || record?.id !== sessionId;
  }
}
