/**
 * The schemas of the bodies of the APIs for other clients, as far as a schema can check them cheaply. The rest is read
 * field by field, because a long history with many errors must not cost a message for each of them.
 */
import { z } from 'zod';

/** The most JSON values of a body: a message has three to six. */
export const mostHistoryValues = 20_000;

const model = z
  .string({ error: 'expected the name of a model; see GET /v1/models' })
  .max(200)
  .describe('`berth/<profile>`, `berth` for the default profile, or an alias of the profiles file');
const stream = z
  .boolean({ error: 'expected true or false' })
  .nullish()
  .describe('Whether the answer is a stream of events');
const list = (what: string) =>
  z.array(z.unknown(), { error: `expected a list of ${what}` }).min(1, { error: 'it is empty' });

export const messagesSchema = z
  .looseObject({
    model,
    messages: list('messages').describe('Messages of user and assistant; the last is of the user'),
    system: z.union([z.string(), z.array(z.unknown())]).nullish(),
    max_tokens: z.int({ error: 'expected a whole number' }).min(1),
    stream,
  })
  .describe("A request of Anthropic's Messages API");

export const countTokensSchema = messagesSchema
  .omit({ max_tokens: true, stream: true })
  .describe('The same request, without max_tokens');

export const chatSchema = z
  .looseObject({
    model,
    messages: list('messages').describe('system or developer first, then user and assistant'),
    response_format: z
      .unknown()
      .optional()
      .describe('`text`, or `json_schema` with a schema of an object'),
    stream,
  })
  .describe("A request of OpenAI's Chat Completions API");

export const responsesSchema = z
  .looseObject({
    model,
    input: z.union([z.string(), list('items')], { error: 'expected a text or a list of items' }),
    instructions: z.string({ error: 'expected a text' }).nullish(),
    previous_response_id: z
      .string({ error: 'expected the id of a response' })
      .nullish()
      .describe('Continues the session of that response'),
    metadata: z
      .record(z.string().max(64), z.string().max(512), { error: 'expected an object of texts' })
      .refine((entries) => Object.keys(entries).length <= 16, { error: 'it has more than 16 keys' })
      .nullish()
      .describe('Up to 16 texts; the response repeats them'),
    stream,
  })
  .describe("A request of OpenAI's Responses API");

const anyObject = z.looseObject({});

export const messageAnswerSchema = z
  .looseObject({ id: z.string(), type: z.literal('message'), content: z.array(anyObject) })
  .describe('A message, with `berth` beside the fields of the API');
export const chatAnswerSchema = z
  .looseObject({
    id: z.string(),
    object: z.literal('chat.completion'),
    choices: z.array(anyObject),
  })
  .describe('A completion, with `berth` beside the fields of the API');
export const responseAnswerSchema = z
  .looseObject({ id: z.string(), object: z.literal('response'), output: z.array(anyObject) })
  .describe('A response, with `berth` beside the fields of the API');
export const tokensSchema = z
  .object({ input_tokens: z.number().int().describe('An estimate') })
  .describe('The tokens of a request');
