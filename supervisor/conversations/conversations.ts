/**
 * Runs the prompts of clients that send their whole history each time. A known history continues its session, an
 * earlier history of a session gets a fork of it, and an unknown history begins a session with the history as data.
 * Invariants: a session gets one prompt at a time in this way. What a client gets as the answer is what its next
 * history is compared with.
 */
import { BerthError } from '../../shared/errors.ts';
import { sleep } from '../../shared/waiting.ts';
import { type Attachment, isBlock } from '../attachments/attachment.ts';
import { type AttachmentLimits, newestWithin, usualLimits } from '../attachments/limits.ts';
import type { Answer } from '../prompts/answer.ts';
import {
  type Prompt,
  type PromptRequest,
  type PromptResolver,
  type SentPrompt,
  unknownSession,
} from '../prompts/prompt.ts';
import type { RunsPrompts } from '../prompts/prompts.ts';
import type { TurnEvent } from '../prompts/turn.ts';
import type { Transcripts } from '../sessions/transcripts.ts';
import { forkPoint } from './fork-point.ts';
import { extendKey, historyKey, scopeKey } from './history-key.ts';
import { withHistory } from './history-text.ts';
import { KnownHistories, type KnownHistoriesOptions, type Place } from './known-histories.ts';
import { attachmentsIn, type Message, splitHistory } from './message.ts';
import { type ChosenModel, chooseModel, type ProfileSource } from './model-names.ts';
import { type ReplyStream, StreamedText } from './streamed-text.ts';

/** How a prompt got its session. */
export const sessionOrigins = ['new', 'continued', 'forked', 'history'] as const;
export type SessionOrigin = (typeof sessionOrigins)[number];

export interface ConversationRequest {
  /** The name of the model, as the client wrote it. */
  model: string;
  instructions: string | undefined;
  /** The oldest first. */
  messages: readonly Message[];
  /** The id of the response that the messages follow; undefined: they are the whole history. */
  previous: string | undefined;
  /** The id of the response to this request; undefined if no later request can name it. */
  response: string | undefined;
  outputSchema: Readonly<Record<string, unknown>> | undefined;
  token: string;
  tokenId: string | undefined;
  traceparent: string | undefined;
}

export interface Reply {
  answer: Answer;
  /** What the client gets: the whole text of a stream, otherwise the result; the output for a schema as JSON. */
  text: string;
}

export interface ConversationsOptions {
  promptResolver: Pick<PromptResolver, 'resolve'>;
  prompts: RunsPrompts;
  profiles: ProfileSource;
  store: KnownHistoriesOptions['store'];
  transcripts: Pick<Transcripts, 'find'>;
  /** Whether the CLI can fork a session at an earlier message. */
  forksAt: (signal: AbortSignal) => Promise<boolean>;
  /** The limits of the settings. */
  attachmentLimits?: AttachmentLimits;
  /** Called for each prompt that is accepted. */
  onOrigin: (origin: SessionOrigin) => void;
}

/** Milliseconds after an answer within which the CLI writes it into the transcript. */
const writeDelay = 1_000;

/** What a prompt runs on. */
interface Ground {
  origin: SessionOrigin;
  prompt: Prompt;
  /** The history that this prompt continues in its own session; no other prompt may. */
  claimed: Place | undefined;
}

/** A request whose history is looked up. */
interface Asked {
  request: ConversationRequest;
  chosen: ChosenModel;
  /** The history before the new message, where the request has it. */
  known: readonly Message[];
  /** The new message of the user. */
  fresh: Message;
}

export class Conversations {
  readonly #options: ConversationsOptions;
  readonly #known: KnownHistories;

  constructor(options: ConversationsOptions) {
    this.#options = options;
    this.#known = new KnownHistories(options);
  }

  /**
   * @param stream absent: the reply is wanted as a whole
   * @throws BerthError as `PromptResolver.resolve` and `RunsPrompts.run`; `model_not_found`; `session_not_found` if nothing is
   *   known of `previous`
   */
  async run(
    request: ConversationRequest,
    caller: AbortSignal,
    stream?: ReplyStream,
  ): Promise<Reply> {
    const chosen = chooseModel(request.model, request.token, this.#options.profiles);
    const { known, fresh } = splitHistory(request.messages);
    const asked = { request, chosen, known, fresh };
    const { key, place } = await this.#lookUp(asked);
    const reply = await this.#reply(asked, place, caller, stream);
    const answered = extendKey(extendKey(key, fresh), { role: 'assistant', text: reply.text });
    this.#known.note(reply.answer.session_id, answered, request.response);
    return reply;
  }

  async #reply(
    asked: Asked,
    place: Place | undefined,
    caller: AbortSignal,
    stream: ReplyStream | undefined,
  ): Promise<Reply> {
    const ground = await this.#groundOf(asked, place, caller);
    this.#options.onOrigin(ground.origin);
    try {
      return await this.#answer(ground, asked.request, caller, stream);
    } catch (error) {
      const { claimed } = ground;
      if (!claimed || claimed.next !== undefined || !isGone(error)) throw error;
      // The session has a record and no transcript, or has gone on meanwhile.
      this.#known.forget(claimed);
      return this.#reply(asked, undefined, caller, stream);
    }
  }

  /** The key of the history before the new message, and the session that has this history. */
  async #lookUp({ request, chosen, known }: Asked) {
    const { token, instructions, previous } = request;
    if (previous !== undefined) {
      const place = await this.#known.findResponse(token, previous);
      if (!place) throw unknownResponse(previous);
      return { key: place.key, place };
    }
    const { profile, model } = chosen;
    const key = historyKey(scopeKey({ token, profile: profile.name, model, instructions }), known);
    return { key, place: known.length === 0 ? undefined : await this.#known.find(token, key) };
  }

  async #groundOf(asked: Asked, place: Place | undefined, caller: AbortSignal): Promise<Ground> {
    const { previous } = asked.request;
    const ground =
      place && ((await this.#continued(asked, place)) ?? (await this.#fork(asked, place, caller)));
    if (ground) return ground;
    if (previous !== undefined) throw unknownResponse(previous);
    const { known, fresh } = asked;
    const earlier = this.#newest(asked, attachmentsIn(known));
    const prompt = await this.#resolve(asked, {
      text: withHistory(known, fresh.text, earlier),
      attachments: [...earlier, ...attachmentsIn([fresh])],
    });
    return { origin: known.length === 0 ? 'new' : 'history', prompt, claimed: undefined };
  }

  /** The newest files of the history that may come with the new message. */
  #newest({ chosen: { profile }, fresh }: Asked, files: readonly Attachment[]) {
    const { attachmentLimits = usualLimits } = this.#options;
    return newestWithin(files, attachmentsIn([fresh]), attachmentLimits, profile.attachments);
  }

  /** The files of the history that a fork does not have: it copies the conversation, and gets a directory of its own. */
  #lost(asked: Asked): readonly Attachment[] {
    if (asked.chosen.profile.workingDirectory === 'shared') return [];
    return this.#newest(
      asked,
      attachmentsIn(asked.known).filter((each) => !isBlock(each)),
    );
  }

  /** Undefined if the session has gone on, is about to, or is gone. */
  async #continued(asked: Asked, place: Place): Promise<Ground | undefined> {
    if (place.claimed || place.next !== undefined) return undefined;
    place.claimed = true;
    try {
      const prompt = await this.#resolve(asked, { sessionId: place.sessionId });
      const onSend = async ({ promptId }: SentPrompt): Promise<void> => {
        // Another prompt, such as that of a job, may have been sent while this prompt waited for the worker.
        if (this.#known.hasGoneOn(place)) throw unknownSession(place.sessionId);
        place.next = promptId;
      };
      return { origin: 'continued', prompt: { ...prompt, onSend }, claimed: place };
    } catch (error) {
      place.claimed = false;
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  /** Undefined if the session is gone, its transcript does not have the history, or the CLI cannot fork there. */
  async #fork(asked: Asked, place: Place, caller: AbortSignal): Promise<Ground | undefined> {
    const { sessionId } = place;
    const early = place.at + writeDelay - performance.now();
    if (early > 0) await sleep(early, caller);
    const transcript = await this.#options.transcripts.find(sessionId);
    const forkAt = await forkPoint(transcript, () => place.next);
    // Without a next prompt the end of the transcript was read, which may be that of another prompt.
    if (forkAt === undefined || this.#known.hasGoneOn(place)) return undefined;
    if (!(await this.#options.forksAt(caller))) return undefined;
    try {
      const attachments = [...this.#lost(asked), ...attachmentsIn([asked.fresh])];
      const prompt = await this.#resolve(asked, { sessionId, fork: true, attachments });
      return { origin: 'forked', prompt: { ...prompt, forkAt }, claimed: undefined };
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    }
  }

  #resolve(
    { request, chosen, fresh: { text, attachments } }: Asked,
    own: Partial<Pick<PromptRequest, 'text' | 'attachments' | 'sessionId' | 'fork'>>,
  ): Promise<Prompt> {
    const { token, tokenId, traceparent, instructions, outputSchema } = request;
    return this.#options.promptResolver.resolve({
      ...{ text, attachments, sessionId: undefined, fork: false, ...own },
      profile: chosen.profile.name,
      fields: {
        model: chosen.model,
        append_system_prompt: instructions,
        output_schema: outputSchema,
      },
      // A request has all that its answer depends on: the model and the instructions of an earlier one are over.
      ownFieldsOnly: true,
      onLimit: 'fail',
      onRecycle: 'continue',
      ...{ token, tokenId, traceparent },
    });
  }

  async #answer(
    { prompt, claimed }: Ground,
    { outputSchema }: ConversationRequest,
    caller: AbortSignal,
    stream: ReplyStream | undefined,
  ): Promise<Reply> {
    const streamed = outputSchema === undefined ? stream && new StreamedText(stream) : undefined;
    const emit = (event: TurnEvent): void => {
      stream?.alive();
      streamed?.take(event);
    };
    try {
      const answer = await this.#options.prompts.run(prompt, caller, emit);
      if (streamed) return { answer, text: streamed.end(answer.result) };
      const { structured_output: output, result } = answer;
      const text = output === undefined ? result : JSON.stringify(output);
      stream?.text(text);
      return { answer, text };
    } finally {
      if (claimed) claimed.claimed = false;
    }
  }
}

function isGone(error: unknown): boolean {
  return error instanceof BerthError && error.code === 'session_not_found';
}

function unknownResponse(id: string): BerthError {
  return new BerthError(
    'session_not_found',
    `cannot continue the response ${JSON.stringify(id.slice(0, 80))}: it is unknown to this token, or its session is gone; send the whole conversation as input`,
    { details: { field: 'previous_response_id' } },
  );
}
