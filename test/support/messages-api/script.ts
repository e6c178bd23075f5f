/**
 * Decides what the stand-in answers: by the directives of the person's newest text, else by the
 * default answer. It remembers only how often a `[[status N xK]]` has failed.
 */
import { defaultAnswer, exampleOf } from './default-answer.ts';
import { type Directive, parseDirectives } from './directives.ts';
import {
  blocksOf,
  findPrompt,
  isConversation,
  type MessageBody,
  type RecordedRequest,
  systemText,
} from './request.ts';

/** One answer of the Messages API. */
export interface Reply {
  /** The text block; what is given besides `tool` comes before the call. */
  text?: string;
  /** Ends the answer with a call of this tool. */
  tool?: { name: string; input: object };
  /** An HTTP error in place of an answer. */
  status?: number;
  /** More response headers. */
  headers?: Record<string, string>;
  /** Milliseconds before the first delta and between deltas. */
  delay?: number;
  /** How far the answer gets; complete by default. */
  ending?: 'complete' | 'hang headers' | 'hang stream' | 'drop' | 'error';
  /** The type of the error with which a stream ends, e.g. `overloaded_error`. */
  error?: string;
}

type Of<Kind extends Directive['kind']> = Extract<Directive, { kind: Kind }>;

export class Script {
  readonly #failures = new Map<string, number>();

  /** The scripted or default reply to a `POST /v1/messages`. */
  replyTo(request: RecordedRequest): Reply {
    const { body } = request;
    if (!body || !isConversation(body)) return { text: sideAnswer(body) };
    const prompt = findPrompt(body);
    const directives = parseDirectives(prompt?.text ?? '');
    const unknown = directives.find((directive) => directive.kind === 'unknown');
    if (unknown) return { status: 400, text: `the stand-in knows no [[${unknown.source}]]` };
    const failure = this.#failure(directives);
    if (failure) return failure;
    const delay = find(directives, 'slow')?.milliseconds;
    const headers = find(directives, 'headers')?.headers;
    const reply = nextTool(directives, body, prompt?.index ?? 0) ?? answer(directives, request);
    return {
      ...reply,
      ...(delay === undefined ? {} : { delay }),
      ...(headers === undefined ? {} : { headers }),
    };
  }

  #failure(directives: Directive[]): Reply | undefined {
    for (const directive of directives) {
      if (directive.kind !== 'status' && directive.kind !== 'error') continue;
      const failed = this.#failures.get(directive.source) ?? 0;
      if (failed >= directive.times) continue;
      this.#failures.set(directive.source, failed + 1);
      if (directive.kind === 'error') return { ending: 'error', error: directive.type };
      const { status, headers, message } = directive;
      return { status, headers, ...(message === undefined ? {} : { text: message }) };
    }
    return undefined;
  }
}

function nextTool(directives: Directive[], body: MessageBody, index: number): Reply | undefined {
  if (find(directives, 'tools')) return { tool: { name: 'Bash', input: { command: 'true' } } };
  const tools = directives.filter((directive) => directive.kind === 'tool');
  const tool = tools[callsSince(body, index)];
  return tool && { tool: { name: tool.name, input: tool.input } };
}

function answer(directives: Directive[], request: RecordedRequest): Reply {
  const hang = find(directives, 'hang');
  const ending = hang ? (`hang ${hang.at}` as const) : find(directives, 'drop') && 'drop';
  return { text: answerText(directives, request), ending: ending ?? 'complete' };
}

function answerText(directives: Directive[], request: RecordedRequest): string {
  const big = find(directives, 'big');
  if (big) return 'berth '.repeat(Math.ceil(big.bytes / 6)).slice(0, big.bytes);
  if (find(directives, 'echo')) return systemText(request);
  return find(directives, 'say')?.text ?? defaultAnswer(request);
}

/** How often the model has called tools in this turn. */
function callsSince(body: MessageBody, index: number): number {
  return (body.messages ?? [])
    .slice(index + 1)
    .flatMap((message) => (message.role === 'assistant' ? blocksOf(message.content) : []))
    .filter((block) => block.type === 'tool_use').length;
}

/** Side calls want the shape that they ask for, and a short text otherwise. */
function sideAnswer(body: MessageBody | undefined): string {
  const schema = body?.output_config?.format?.schema;
  return schema === undefined ? 'Stand-in' : JSON.stringify(exampleOf(schema));
}

function find<Kind extends Directive['kind']>(
  directives: Directive[],
  kind: Kind,
): Of<Kind> | undefined {
  return directives.find((directive): directive is Of<Kind> => directive.kind === kind);
}
