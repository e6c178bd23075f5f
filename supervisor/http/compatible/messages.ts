/** Anthropic's Messages API, `POST /v1/messages`: reads its requests and writes its replies. */
import type { Reply } from '../../conversations/conversations.ts';
import type { Message } from '../../conversations/message.ts';
import { berthFields, type CompatibleApi, namedEvent, type ReplyFrame } from './api.ts';
import { asObject, contentOf, instructionsOf, notEmpty, textOf } from './content.ts';
import { cannotUse, checkFields, type FieldRules, unusedKeys } from './field-rules.ts';
import { anthropicParts } from './files.ts';
import { messagesKeys, outputFormatKeys } from './message-rules.ts';
import { checkKeys, checkMessages, checkPartList } from './part-keys.ts';
import {
  effort,
  notEnforced,
  probeTokens,
  refusedTools,
  serviceTier,
  warnedSampling,
} from './shared-rules.ts';

type Body = Readonly<Record<string, unknown>>;

export const messagesRules: FieldRules = {
  accepted: [
    ...['model', 'messages', 'system', 'stream', 'metadata', 'output_config', 'output_format'],
    'cache_control',
  ],
  warned: {
    max_tokens: notEnforced,
    ...warnedSampling,
    top_k: { why: 'the CLI does not let a request set it, so it has no effect' },
    thinking: { ...effort, unless: [{ type: 'disabled' }] },
    service_tier: serviceTier,
    inference_geo: { why: 'it has no effect here' },
  },
  refused: {
    ...refusedTools,
    stop_sequences: { why: 'the CLI cannot stop at a text', unless: [[]] },
    mcp_servers: { why: 'MCP servers are those of the profile', unless: [[]] },
    container: { why: 'berth has no containers of the API' },
    context_management: { why: 'the CLI manages its context itself' },
  },
};

export const messagesApi: CompatibleApi = {
  shape: 'anthropic',
  fieldNames: {
    append_system_prompt: 'system',
    output_schema: 'output_config.format',
    attachments: 'messages',
  },
  idPrefix: 'msg_',
  read(body) {
    const warnings = [
      ...checkFields(body, messagesRules),
      // Other keys of it are refused.
      ...unusedKeys(body.output_config, 'output_config', ['format']),
      ...messageWarnings(body),
    ];
    return {
      conversation: {
        model: String(body.model),
        ...readMessages(body),
        previous: undefined,
        outputSchema: outputSchemaOf(body),
      },
      streams: body.stream === true,
      isContinuable: false,
      isProbe: body.max_tokens === probeTokens,
      warnings,
    };
  },
  whole: (frame, reply) => ({ ...messageOf(frame, reply), berth: berthFields(reply) }),
  stream: (frame) => ({
    begin: () =>
      namedEvent('message_start', {
        type: 'message_start',
        message: { ...head(frame), content: [], stop_reason: null, usage: usageOf(undefined) },
      }) +
      namedEvent('content_block_start', {
        type: 'content_block_start',
        index: 0,
        content_block: { type: 'text', text: '' },
      }),
    delta: (text) =>
      namedEvent('content_block_delta', {
        type: 'content_block_delta',
        index: 0,
        delta: { type: 'text_delta', text },
      }),
    end: (reply) => {
      const { stop_reason, usage } = messageOf(frame, reply);
      return (
        namedEvent('content_block_stop', { type: 'content_block_stop', index: 0 }) +
        namedEvent('message_delta', {
          type: 'message_delta',
          delta: { stop_reason, stop_sequence: null },
          usage,
          berth: berthFields(reply),
        }) +
        namedEvent('message_stop', { type: 'message_stop' })
      );
    },
    fail: (error) => namedEvent('error', error),
  }),
};

/** @throws BerthError `invalid_request` */
export function readMessages(body: Body): {
  instructions: string | undefined;
  messages: Message[];
} {
  const { system } = body;
  const instructions =
    system === undefined || system === null ? [] : [textOf(system, 'system', ['text'], '\n\n')];
  const messages = (body.messages as readonly unknown[]).map(readMessage);
  if (messages[0]?.role !== 'user') {
    throw cannotUse('messages', 'the first message is not of the user', 'begin with the user');
  }
  return { instructions: instructionsOf(instructions), messages };
}

function readMessage(value: unknown, index: number): Message {
  const field = `messages.${index}`;
  const { role, content } = asObject(value, field);
  const at = `${field}.content`;
  if (role === 'assistant') return { role, text: textOf(content, at, ['text'], '') };
  if (role === 'user') return { role, ...notEmpty(contentOf(content, at, anthropicParts), at) };
  throw cannotUse(`${field}.role`, 'it is neither user nor assistant', 'send one of them');
}

/** Also of a request that only counts tokens. @throws BerthError `invalid_request` */
export function messageWarnings(body: Body): string[] {
  const warnings = [
    ...checkPartList(body.system, 'system', messagesKeys),
    ...checkMessages(body.messages, 'messages', messagesKeys),
  ];
  return [...new Set(warnings)];
}

/** `output_config.format`, and its older name. */
function outputSchemaOf({ output_config, output_format }: Body): Body | undefined {
  const { format, effort: _, ...others } = asObject(output_config ?? {}, 'output_config');
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) {
    throw cannotUse(`output_config.${unknown}`, 'berth does not know this field', 'omit it');
  }
  const wanted = format ?? output_format;
  if (wanted === undefined || wanted === null) return undefined;
  const { type, schema } = asObject(wanted, 'output_config.format');
  checkKeys(wanted, 'output_config.format', outputFormatKeys);
  if (type === 'json_schema') return asObject(schema, 'output_config.format.schema');
  throw cannotUse('output_config.format.type', 'it is not json_schema', 'send json_schema');
}

function head({ id, model }: ReplyFrame) {
  return { id, type: 'message', role: 'assistant', model, stop_sequence: null };
}

function messageOf(frame: ReplyFrame, { text, answer }: Reply) {
  return {
    ...head(frame),
    content: [{ type: 'text', text }],
    stop_reason: stopReasonOf(answer.stop_reason),
    usage: usageOf(answer.usage),
  };
}

/** A turn of the CLI ends; what the model did before, such as the use of a tool, is over. */
function stopReasonOf(reason: string | null): string {
  const kept = ['max_tokens', 'refusal', 'stop_sequence', 'model_context_window_exceeded'];
  return reason !== null && kept.includes(reason) ? reason : 'end_turn';
}

function usageOf(usage: Reply['answer']['usage'] | undefined) {
  return {
    input_tokens: usage?.input_tokens ?? 0,
    output_tokens: usage?.output_tokens ?? 0,
    cache_creation_input_tokens: usage?.cache_creation_input_tokens ?? 0,
    cache_read_input_tokens: usage?.cache_read_input_tokens ?? 0,
  };
}
