/**
 * What the transcript of a session knows of one turn: nothing, its beginning, or its whole answer. An earlier process of
 * berth may have sent the prompt, and was killed before it had stored the answer.
 * Invariants: a turn counts as ended only if the model has ended it: an error of the API, an interrupt or an unfinished
 * tool leaves it unfinished. Messages of later prompts and of subagents are no part of the turn. The CLI's user can
 * write the file: it is untrusted, and read in bounded pieces. The fields are those of the CLI 2.1.330.
 */
import type { FileHandle } from 'node:fs/promises';
import { z } from 'zod';
import type { Usage } from '../claude/turn-result.ts';
import { addUsage, noUsage } from '../sessions/session-record.ts';
import { continuesTurn, findInTranscript, openTranscript, wholeFile } from './resume-prompt.ts';

/** `overtaken`: the turn has not ended, and the session has had another prompt since. */
export type KnownTurn =
  | { kind: 'unknown' }
  | { kind: 'begun' }
  | { kind: 'overtaken' }
  | ({ kind: 'ended' } & EndedTurn);

export interface EndedTurn {
  /** The last text of the model; with a schema, the output as JSON. */
  result: string;
  /** The output for a schema; undefined without a schema. */
  output: unknown;
  stopReason: string | null;
  model: string;
  usage: Usage;
  /** Answers of the model. */
  numTurns: number;
  /** Milliseconds from the prompt to the last message. */
  durationMs: number;
  /** When the last message was written, in milliseconds since 1970; 0 if unknown. */
  endedAt: number;
}

const tokens = z.int().nonnegative().max(1e9).catch(0);

const messageLine = z.object({
  type: z.enum(['user', 'assistant']),
  uuid: z.string().optional(),
  isSidechain: z.boolean().optional(),
  isMeta: z.boolean().optional(),
  isApiErrorMessage: z.boolean().optional(),
  /** `sdk` for a prompt of berth; other values for turns that the CLI begins. */
  turnOrigin: z.string().optional(),
  timestamp: z.string().optional(),
  message: z.object({
    id: z.string().optional(),
    model: z.string().catch(''),
    stop_reason: z.string().nullish(),
    content: z.union([
      z.string(),
      z.array(
        z.looseObject({
          type: z.string(),
          text: z.string().optional(),
          name: z.string().optional(),
          id: z.string().optional(),
          tool_use_id: z.string().optional(),
          is_error: z.boolean().optional(),
          input: z.unknown().optional(),
        }),
      ),
    ]),
    usage: z
      .object({
        input_tokens: tokens,
        output_tokens: tokens,
        cache_creation_input_tokens: tokens,
        cache_read_input_tokens: tokens,
      })
      .optional(),
  }),
});

type MessageLine = z.infer<typeof messageLine>;

/** The tool with which the model gives an output of a schema. */
const outputTool = 'StructuredOutput';
/** Bytes of one line that are read; a longer line is skipped. */
const longestLine = 16 * 1024 * 1024;
const piece = 1024 * 1024;

/**
 * @throws Error of the system if the transcript is there and cannot be read
 * @param promptId the id with which the prompt was sent
 * @param schema whether the output has to match a schema
 */
export async function turnIn(
  transcript: string | undefined,
  promptId: string,
  schema: boolean,
): Promise<KnownTurn> {
  if (transcript === undefined) return { kind: 'unknown' };
  const file = await openTranscript(transcript);
  if (!file) return { kind: 'unknown' };
  try {
    const start = await findInTranscript(file, promptId, wholeFile);
    return start === undefined ? { kind: 'unknown' } : await readTurn(file, start, schema);
  } finally {
    await file.close();
  }
}

/** @param start a position in the line of the prompt, or before that line */
async function readTurn(file: FileHandle, start: number, schema: boolean): Promise<KnownTurn> {
  const turn = new TurnReader(schema);
  for await (const line of linesFrom(file, start)) {
    if (!turn.take(line)) return turn.standing({ kind: 'overtaken' });
  }
  return turn.standing({ kind: 'begun' });
}

class TurnReader {
  readonly #schema: boolean;
  readonly #usages = new Map<string, Usage>();
  #ended = false;
  #text = '';
  #textOf: string | undefined;
  #output: { id: string | undefined; input: unknown } | undefined;
  #stopReason: string | null = null;
  #model = '';
  #first: number | undefined;
  #last = 0;

  constructor(schema: boolean) {
    this.#schema = schema;
  }

  /** Takes a line after the prompt. @returns false for the line that begins another turn */
  take(line: MessageLine): boolean {
    if (line.isSidechain) return true;
    if (line.type === 'user' && line.turnOrigin !== undefined && !continues(line)) return false;
    const at = Date.parse(line.timestamp ?? '');
    if (!Number.isNaN(at)) {
      this.#first ??= at;
      this.#last = at;
    }
    if (line.type === 'user') this.#takeUser(line);
    else this.#takeAssistant(line);
    return true;
  }

  /** @param otherwise for a turn that has not ended */
  standing(otherwise: KnownTurn): KnownTurn {
    const output = this.#schema ? this.#output : undefined;
    if (!this.#ended) return otherwise;
    return {
      kind: 'ended',
      result: output ? JSON.stringify(output.input) : this.#text,
      output: output?.input,
      stopReason: this.#stopReason,
      model: this.#model,
      usage: [...this.#usages.values()].reduce(addUsage, noUsage),
      numTurns: this.#usages.size,
      durationMs: this.#last - (this.#first ?? this.#last),
      endedAt: this.#last,
    };
  }

  /** A result of a tool, an interrupt or a reminder: the model answers once more, unless it gave its output. */
  #takeUser({ message: { content } }: MessageLine): void {
    this.#ended = false;
    if (!this.#schema || !this.#output || typeof content === 'string') return;
    const { id } = this.#output;
    this.#ended = content.some(
      ({ tool_use_id, is_error }) => tool_use_id !== undefined && tool_use_id === id && !is_error,
    );
  }

  #takeAssistant({ message, isApiErrorMessage, uuid }: MessageLine): void {
    const { id = uuid, model, stop_reason, content, usage } = message;
    if (isApiErrorMessage) {
      this.#ended = false;
      return;
    }
    this.#model = model;
    if (id !== undefined) this.#usages.set(id, usage ?? noUsage);
    for (const block of typeof content === 'string' ? [{ type: 'text', text: content }] : content) {
      if (block.type === 'text') {
        this.#text = (this.#textOf === id ? this.#text : '') + (block.text ?? '');
        this.#textOf = id;
      }
      if (block.type === 'tool_use' && 'name' in block && block.name === outputTool) {
        this.#output = { id: block.id, input: block.input };
      }
    }
    this.#stopReason = stop_reason ?? null;
    // With a schema a text is no answer: the CLI reminds the model of the output.
    const text = this.#textOf === id && this.#text.trim() !== '';
    this.#ended = !this.#schema && text && stop_reason !== null && endings.has(stop_reason ?? '');
  }
}

/** The reasons with which the model has ended its turn itself. */
const endings: ReadonlySet<string> = new Set(['end_turn', 'stop_sequence']);

/** Whether the prompt is berth's text that continues a turn. */
function continues({ message: { content } }: MessageLine): boolean {
  const texts = typeof content === 'string' ? [content] : content.map(({ text }) => text);
  return texts.some(continuesTurn);
}

/** The messages after the first line break from `start` on. Lines that are torn or too long are skipped. */
async function* linesFrom(file: FileHandle, start: number): AsyncGenerator<MessageLine> {
  const buffer = Buffer.alloc(piece);
  let parts: Buffer[] = [];
  let length = 0;
  let isFirst = true;
  for (let position = start; ; ) {
    const { bytesRead } = await file.read(buffer, 0, piece, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    let from = 0;
    for (;;) {
      const end = buffer.subarray(0, bytesRead).indexOf(10, from);
      const part = buffer.subarray(from, end < 0 ? bytesRead : end);
      length += part.length;
      if (length <= longestLine) parts.push(Buffer.from(part));
      if (end < 0) break;
      if (!isFirst && length <= longestLine) yield* messageIn(Buffer.concat(parts).toString());
      isFirst = false;
      parts = [];
      length = 0;
      from = end + 1;
    }
  }
}

function* messageIn(line: string): Generator<MessageLine> {
  if (!line.includes('"type":"user"') && !line.includes('"type":"assistant"')) return;
  try {
    const parsed = messageLine.safeParse(JSON.parse(line));
    if (parsed.success) yield parsed.data;
  } catch {
    // A torn line: the CLI was killed while it wrote.
  }
}
