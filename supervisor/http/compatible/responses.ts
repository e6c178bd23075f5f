/** OpenAI's Responses API, `POST /v1/responses`: reads its requests and writes its replies. */
import type { Reply } from '../../conversations/conversations.ts';
import { berthFields, type CompatibleApi, namedEvent, type ReplyFrame } from './api.ts';
import { asObject, contentOf, instructionsOf, nameOf, notEmpty, textOf } from './content.ts';
import { cannotUse, checkFields, type FieldRules, unusedKeys } from './field-rules.ts';
import { responsesParts } from './files.ts';
import { responsesKeys, textFormatKeys } from './message-rules.ts';
import { isInstructions, OpenAiHistory } from './openai-history.ts';
import { finishReasonOf, promptTokensOf } from './openai-usage.ts';
import { checkKeys, checkMessages } from './part-keys.ts';
import {
  checkStreamOptions,
  effort,
  notEnforced,
  refusedTools,
  serviceTier,
  warnedSampling,
} from './shared-rules.ts';

type Body = Readonly<Record<string, unknown>>;

export const responsesRules: FieldRules = {
  accepted: [
    ...['model', 'input', 'instructions', 'stream', 'stream_options', 'previous_response_id'],
    ...['text', 'metadata', 'user', 'safety_identifier', 'prompt_cache_key', 'store'],
    ...['prompt_cache_retention', 'parallel_tool_calls'],
  ],
  warned: {
    max_output_tokens: notEnforced,
    ...warnedSampling,
    reasoning: { ...effort, unless: [{}] },
    include: { why: 'the reply has only its text', unless: [[]] },
    truncation: { why: 'the CLI manages its context itself', unless: ['disabled'] },
    service_tier: serviceTier,
    max_tool_calls: {
      why: 'the CLI runs its own tools; limits.max_turns of the profile bounds them',
    },
  },
  refused: {
    ...refusedTools,
    top_logprobs: { why: 'the CLI reports no probabilities', unless: [0] },
    background: { why: 'berth has POST /v1/jobs for this', unless: [false] },
    conversation: { why: 'berth has no conversations of this API; send previous_response_id' },
    prompt: { why: 'berth keeps no prompt templates' },
    context_management: { why: 'the CLI manages its context itself', unless: [[]] },
  },
};

export const responsesApi: CompatibleApi = {
  shape: 'openai',
  fieldNames: {
    append_system_prompt: 'instructions',
    output_schema: 'text.format',
    attachments: 'input',
    messages: 'input',
  },
  idPrefix: 'resp_',
  read(body) {
    const warnings = [
      ...checkFields(body, responsesRules),
      ...checkStreamOptions(body.stream_options),
      ...unusedKeys(body.text, 'text', ['format']),
      ...checkMessages(body.input, 'input', responsesKeys),
    ];
    const history = readInput(body.input);
    const { instructions, previous_response_id: previous } = body;
    const given = instructions === undefined || instructions === null ? [] : [String(instructions)];
    if (typeof previous === 'string' && history.messages.some(({ role }) => role !== 'user')) {
      const cause = 'after previous_response_id it has an answer of its own';
      throw cannotUse('input', cause, 'send only the new messages of the user');
    }
    return {
      conversation: {
        model: String(body.model),
        instructions: instructionsOf([...given, ...history.instructions]),
        messages: history.messages,
        previous: typeof previous === 'string' ? previous : undefined,
        outputSchema: outputSchemaOf(body.text),
      },
      streams: body.stream === true,
      isContinuable: body.store !== false,
      isProbe: false,
      warnings,
    };
  },
  whole: (frame, reply) => responseOf(frame, reply),
  stream(frame) {
    let sequence = 0;
    const event = (type: string, data: object): string =>
      namedEvent(type, { type, sequence_number: sequence++, ...data });
    const item_id = itemId(frame);
    const at = { item_id, output_index: 0, content_index: 0 };
    const empty = { ...itemOf(frame, ''), status: 'in_progress', content: [] };
    const running = { ...head(frame), status: 'in_progress', output: [], usage: null };
    return {
      begin: () =>
        event('response.created', { response: running }) +
        event('response.in_progress', { response: running }) +
        event('response.output_item.added', { output_index: 0, item: empty }) +
        event('response.content_part.added', { ...at, part: partOf('') }),
      delta: (delta) => event('response.output_text.delta', { ...at, delta, logprobs: [] }),
      end: (reply) => {
        const { text } = reply;
        const response = responseOf(frame, reply);
        return (
          event('response.output_text.done', { ...at, text, logprobs: [] }) +
          event('response.content_part.done', { ...at, part: partOf(text) }) +
          event('response.output_item.done', { output_index: 0, item: itemOf(frame, text) }) +
          event(`response.${response.status}`, { response })
        );
      },
      // The libraries raise this event as an error; `response.failed` alone would look like an empty answer.
      fail: ({ error }) => {
        const { code, message } = error as { code: string; message: string };
        const response = { ...running, status: 'failed', error: { code, message } };
        return (
          event('response.failed', { response }) +
          event('error', { ...(error as object), type: 'error', error })
        );
      },
    };
  },
};

/** @throws BerthError `invalid_request` */
function readInput(input: unknown): OpenAiHistory {
  const history = new OpenAiHistory('input');
  if (typeof input === 'string') {
    history.add({ role: 'user', ...notEmpty({ text: input }, 'input') });
    return history;
  }
  for (const [index, value] of (input as readonly unknown[]).entries()) {
    readItem(value, `input.${index}`, history);
  }
  return history;
}

function readItem(value: unknown, field: string, history: OpenAiHistory): void {
  const { type = 'message', role, content } = asObject(value, field);
  const at = `${field}.content`;
  if (type !== 'message') {
    const named = nameOf(type);
    const cause = `items of type ${named} are not supported: the CLI cannot call tools of the client`;
    throw cannotUse(field, cause, 'send messages');
  }
  if (isInstructions(role)) history.instruct(textOf(content, at, texts, '\n\n'), field);
  else if (role === 'user') {
    history.add({ role, ...notEmpty(contentOf(content, at, responsesParts), at) });
  } else if (role === 'assistant') history.add({ role, text: textOf(content, at, texts, '') });
  else throw history.unknownRole(role, field);
}

const texts = ['input_text', 'output_text', 'text', 'refusal'];

/** @throws BerthError `invalid_request` */
function outputSchemaOf(text: unknown): Body | undefined {
  const { format } = asObject(text ?? {}, 'text');
  if (format === undefined || format === null) return undefined;
  const { type, schema } = asObject(format, 'text.format');
  checkKeys(format, 'text.format', textFormatKeys);
  if (type === 'text') return undefined;
  if (type === 'json_schema') return asObject(schema, 'text.format.schema');
  const cause = `type ${nameOf(type)} has no schema to check`;
  throw cannotUse('text.format', cause, 'send json_schema');
}

function itemId({ id }: ReplyFrame): string {
  return id.replace(/^resp_/, 'msg_');
}

function partOf(text: string) {
  return { type: 'output_text', text, annotations: [], logprobs: [] };
}

function itemOf(frame: ReplyFrame, text: string) {
  const content = [partOf(text)];
  return { id: itemId(frame), type: 'message', status: 'completed', role: 'assistant', content };
}

function head({ id, created, model, body }: ReplyFrame) {
  return {
    id,
    object: 'response',
    created_at: created,
    model,
    error: null,
    incomplete_details: null,
    instructions: body.instructions ?? null,
    metadata: body.metadata ?? {},
    parallel_tool_calls: true,
    previous_response_id: body.previous_response_id ?? null,
    store: body.store !== false,
    temperature: 1,
    text: body.text ?? { format: { type: 'text' } },
    tool_choice: 'auto',
    tools: [],
    top_p: 1,
    truncation: 'disabled',
  };
}

function responseOf(frame: ReplyFrame, reply: Reply) {
  const reason = finishReasonOf(reply);
  const isWhole = reason === 'stop';
  const incomplete = { reason: reason === 'length' ? 'max_output_tokens' : 'content_filter' };
  return {
    ...head(frame),
    status: isWhole ? 'completed' : 'incomplete',
    incomplete_details: isWhole ? null : incomplete,
    output: [itemOf(frame, reply.text)],
    usage: usageOf(reply),
    berth: berthFields(reply),
  };
}

function usageOf({ answer: { usage } }: Reply) {
  const input_tokens = promptTokensOf(usage);
  return {
    input_tokens,
    input_tokens_details: { cached_tokens: usage.cache_read_input_tokens },
    output_tokens: usage.output_tokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: input_tokens + usage.output_tokens,
  };
}
