/** OpenAI's Chat Completions API, `POST /v1/chat/completions`: reads its requests and writes its replies. */
import type { Reply } from '../../conversations/conversations.ts';
import { berthFields, type CompatibleApi, type ReplyFrame } from './api.ts';
import { asObject, contentOf, instructionsOf, nameOf, notEmpty, textOf } from './content.ts';
import { cannotUse, checkFields, type FieldRules } from './field-rules.ts';
import { chatParts } from './files.ts';
import { chatKeys, responseFormatKeys } from './message-rules.ts';
import { isInstructions, OpenAiHistory } from './openai-history.ts';
import { finishReasonOf, promptTokensOf } from './openai-usage.ts';
import { checkKeys, checkMessages } from './part-keys.ts';
import {
  checkStreamOptions,
  effort,
  notEnforced,
  probeTokens,
  refusedTools,
  serviceTier,
  warnedSampling,
} from './shared-rules.ts';

type Body = Readonly<Record<string, unknown>>;

const noEffect = 'the CLI does not let a request set it, so it has no effect';
const audio = 'berth answers with text';

export const chatRules: FieldRules = {
  accepted: [
    ...['model', 'messages', 'stream', 'stream_options', 'response_format', 'metadata', 'user'],
    ...['safety_identifier', 'store', 'prompt_cache_key', 'prompt_cache_retention'],
    'parallel_tool_calls',
  ],
  warned: {
    max_tokens: notEnforced,
    max_completion_tokens: notEnforced,
    ...warnedSampling,
    frequency_penalty: { why: noEffect, unless: [0] },
    presence_penalty: { why: noEffect, unless: [0] },
    seed: { why: noEffect },
    reasoning_effort: effort,
    verbosity: { why: noEffect },
    service_tier: serviceTier,
    prediction: { why: 'it has no effect here' },
  },
  refused: {
    ...refusedTools,
    functions: refusedTools.tools ?? { why: '' },
    function_call: refusedTools.tool_choice ?? { why: '' },
    n: { why: 'a prompt has one answer', unless: [1] },
    logprobs: { why: 'the CLI reports no probabilities', unless: [false] },
    top_logprobs: { why: 'the CLI reports no probabilities', unless: [0] },
    logit_bias: { why: 'the CLI cannot bias tokens', unless: [{}] },
    stop: { why: 'the CLI cannot stop at a text', unless: [[]] },
    modalities: { why: audio, unless: [['text']] },
    audio: { why: audio },
    web_search_options: { why: 'the tools are those of the profile' },
  },
};

export const chatApi: CompatibleApi = {
  shape: 'openai',
  fieldNames: {
    append_system_prompt: 'messages',
    output_schema: 'response_format',
    attachments: 'messages',
  },
  idPrefix: 'chatcmpl-',
  read(body) {
    const warnings = [
      ...checkFields(body, chatRules),
      ...checkStreamOptions(body.stream_options),
      ...checkMessages(body.messages, 'messages', chatKeys),
    ];
    const history = new OpenAiHistory('messages');
    for (const [index, value] of (body.messages as readonly unknown[]).entries()) {
      readMessage(value, `messages.${index}`, history);
    }
    const { max_tokens, max_completion_tokens: tokens = max_tokens } = body;
    return {
      conversation: {
        model: String(body.model),
        instructions: instructionsOf(history.instructions),
        messages: history.messages,
        previous: undefined,
        outputSchema: outputSchemaOf(body.response_format),
      },
      streams: body.stream === true,
      isContinuable: false,
      isProbe: tokens === probeTokens,
      warnings,
    };
  },
  whole: (frame, reply) => ({
    ...head(frame, 'chat.completion'),
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: reply.text, refusal: null, annotations: [] },
        logprobs: null,
        finish_reason: finishReasonOf(reply),
      },
    ],
    usage: usageOf(reply),
    berth: berthFields(reply),
  }),
  stream(frame) {
    const { stream_options: options } = frame.body;
    const counts = (options as { include_usage?: unknown } | undefined)?.include_usage === true;
    const chunk = (delta: object, finish_reason: string | null = null, rest: object = {}): string =>
      dataOf({
        ...head(frame, 'chat.completion.chunk'),
        choices: [{ index: 0, delta, logprobs: null, finish_reason }],
        ...(counts ? { usage: null } : {}),
        ...rest,
      });
    return {
      begin: () => chunk({ role: 'assistant', content: '', refusal: null }),
      delta: (content) => chunk({ content }),
      end: (reply) => {
        const last = chunk({}, finishReasonOf(reply), { berth: berthFields(reply) });
        const usage = {
          ...head(frame, 'chat.completion.chunk'),
          choices: [],
          usage: usageOf(reply),
        };
        return `${last}${counts ? dataOf(usage) : ''}data: [DONE]\n\n`;
      },
      fail: dataOf,
    };
  },
};

function readMessage(value: unknown, field: string, history: OpenAiHistory): void {
  const { role, refusal, tool_calls, function_call, content = null } = asObject(value, field);
  const at = `${field}.content`;
  if (isInstructions(role)) history.instruct(textOf(content, at, ['text'], '\n\n'), field);
  else if (role === 'user') {
    history.add({ role, ...notEmpty(contentOf(content, at, chatParts), at) });
  } else if (role === 'assistant') {
    for (const calls of [tool_calls, function_call]) {
      if (calls === undefined || calls === null) continue;
      if (!Array.isArray(calls) || calls.length > 0) throw history.ofTools(field);
    }
    const refused = typeof refusal === 'string' ? refusal : '';
    const text = content === null ? refused : textOf(content, at, texts, '');
    history.add({ role, text });
  } else throw history.unknownRole(role, field);
}

const texts = ['text', 'refusal'];

/** @throws BerthError `invalid_request` */
function outputSchemaOf(format: unknown): Body | undefined {
  if (format === undefined || format === null) return undefined;
  const { type, json_schema } = asObject(format, 'response_format');
  checkKeys(format, 'response_format', responseFormatKeys);
  if (type === 'text') return undefined;
  if (type !== 'json_schema') {
    const cause = `type ${nameOf(type)} has no schema to check`;
    throw cannotUse('response_format', cause, 'send json_schema');
  }
  const { schema } = asObject(json_schema, 'response_format.json_schema');
  return asObject(schema, 'response_format.json_schema.schema');
}

function head({ id, created, model }: ReplyFrame, object: string) {
  return { id, object, created, model, service_tier: 'default', system_fingerprint: null };
}

function usageOf({ answer: { usage } }: Reply) {
  const prompt_tokens = promptTokensOf(usage);
  return {
    prompt_tokens,
    completion_tokens: usage.output_tokens,
    total_tokens: prompt_tokens + usage.output_tokens,
    prompt_tokens_details: { cached_tokens: usage.cache_read_input_tokens },
    completion_tokens_details: { reasoning_tokens: 0 },
  };
}

const dataOf = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`;
