/**
 * The keys that messages and their parts may have, for each API. Clients send back what they received, so the keys of
 * an answer are accepted in a history.
 */
import type { FieldRule } from './field-rules.ts';
import { notInRequest } from './files.ts';
import type { KeyRules, MessageRules } from './part-keys.ts';

const name: FieldRule = { why: 'the model does not get the names of speakers' };
const detail: FieldRule = { why: 'the CLI decides how it sends pictures', unless: ['auto'] };
const citations: FieldRule = {
  why: 'the answer has no citations',
  unless: [[], { enabled: false }],
};

/** `cache_control` has no effect: the CLI decides what is cached. */
const ofAnthropic = ['type', 'cache_control'];
const elsewhere = [notInRequest, 'send it as base64'] as const;
const source: KeyRules = {
  accepted: ['type', 'media_type', 'data'],
  refused: { url: elsewhere, file_id: elsewhere, content: elsewhere },
};

export const messagesKeys: MessageRules = {
  message: { accepted: ['role', 'content'] },
  parts: {
    text: { accepted: [...ofAnthropic, 'text'], warned: { citations } },
    image: { accepted: ofAnthropic, within: { source } },
    document: {
      accepted: [...ofAnthropic, 'title', 'context'],
      warned: { citations },
      within: { source },
    },
  },
};

/** `cache_control` comes from programs that send the same parts to Anthropic's models. */
const text: KeyRules = { accepted: ['type', 'text', 'cache_control'] };
const refusal: KeyRules = { accepted: ['type', 'refusal'] };

export const chatKeys: MessageRules = {
  message: {
    // The values of calls are judged by the reader; `audio` is null in an answer.
    accepted: [
      'role',
      'content',
      'refusal',
      'annotations',
      'parsed',
      'tool_calls',
      'function_call',
    ],
    warned: { name },
  },
  parts: {
    text,
    refusal,
    image_url: {
      accepted: ['type', 'cache_control'],
      within: { image_url: { accepted: ['url'], warned: { detail } } },
    },
    file: {
      accepted: ['type', 'cache_control'],
      within: {
        file: { accepted: ['file_data', 'filename'], refused: { file_id: elsewhere } },
      },
    },
  },
};

export const responsesKeys: MessageRules = {
  message: {
    accepted: ['type', 'role', 'content', 'id', 'status'],
    warned: { name, phase: { why: 'the model does not get it' } },
  },
  parts: {
    input_text: { accepted: ['type', 'text'] },
    text: { accepted: ['type', 'text'] },
    output_text: { accepted: ['type', 'text', 'annotations', 'logprobs', 'parsed'] },
    refusal,
    input_image: {
      accepted: ['type', 'image_url'],
      warned: { detail },
      refused: { file_id: elsewhere },
    },
    input_file: {
      accepted: ['type', 'file_data', 'filename'],
      warned: { detail },
      refused: { file_id: elsewhere, file_url: elsewhere },
    },
  },
};

/** `response_format` of Chat Completions. The names of a schema are for the model alone, which the CLI instructs itself. */
export const responseFormatKeys: KeyRules = {
  accepted: ['type'],
  within: { json_schema: { accepted: ['name', 'description', 'schema', 'strict'] } },
};

/** `text.format` of Responses. */
export const textFormatKeys: KeyRules = {
  accepted: ['type', 'name', 'description', 'schema', 'strict'],
};

/** `output_config.format` of Messages, and `output_format`. */
export const outputFormatKeys: KeyRules = { accepted: ['type', 'schema', 'name'] };
