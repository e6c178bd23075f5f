/**
 * `POST /v1/messages/count_tokens`: estimates the tokens of a request without a call of the model. Anthropic's own count
 * needs an API key, and a login of a subscription is for the CLI alone.
 */
import type { FastifyReply } from 'fastify';
import { checkFields } from './field-rules.ts';
import { messagesRules, messageWarnings, readMessages } from './messages.ts';

/** English text has about four bytes a token; code and other languages have fewer. */
const bytesPerToken = 3.5;
/** The role and the limits of a message. */
const tokensPerMessage = 4;

/** @throws BerthError `invalid_request` */
export function countTokens(
  _parts: unknown,
  { body }: { body: Readonly<Record<string, unknown>> },
  reply: FastifyReply,
): { input_tokens: number } {
  checkFields(body, messagesRules);
  messageWarnings(body);
  const { instructions = '', messages } = readMessages(body);
  const bytes = messages.reduce(
    (sum, { text }) => sum + Buffer.byteLength(text),
    Buffer.byteLength(instructions),
  );
  reply.raw.setHeader(
    'berth-warning',
    'input_tokens is an estimate, without the instructions and tools of the CLI itself',
  );
  return { input_tokens: Math.ceil(bytes / bytesPerToken) + messages.length * tokensPerMessage };
}
