/** The suite that the official library of OpenAI must pass, unmodified, with both of its APIs. */
import OpenAI from 'openai';
import type { Test } from 'tap';
import { promptText } from '../messages-api.ts';
import {
  type ClientAddress,
  type ClientTarget,
  converse,
  instructions,
  type Sends,
  type Turn,
} from './conversation.ts';

const model = 'berth/default';

export function openaiClient({ url, token }: ClientAddress): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: token });
}

/** Chat completions with the whole history. */
export function completionSends(t: Test, client: OpenAI): Sends {
  const bodyOf = (history: readonly Turn[]) => {
    const system = { role: 'system' as const, content: instructions };
    return { model, messages: [system, ...history] };
  };
  return {
    name: 'the library of OpenAI with completions',
    whole: async (history) => {
      const completion = await client.chat.completions.create(bodyOf(history));
      t.match(completion, {
        object: 'chat.completion',
        model,
        choices: [{ message: { role: 'assistant' }, finish_reason: 'stop' }],
      });
      t.ok(Number(completion.usage?.total_tokens) > 0);
      return completion.choices[0]?.message.content ?? '';
    },
    streamed: async (history) => {
      const options = { stream: true, stream_options: { include_usage: true } } as const;
      const stream = await client.chat.completions.create({ ...bodyOf(history), ...options });
      const pieces: string[] = [];
      const reasons: unknown[] = [];
      let last: OpenAI.ChatCompletionChunk | undefined;
      for await (const chunk of stream) {
        const [choice] = chunk.choices;
        if (choice?.delta.content) pieces.push(choice.delta.content);
        if (choice?.finish_reason) reasons.push(choice.finish_reason);
        last = chunk;
      }
      t.strictSame(reasons, ['stop']);
      t.ok(Number(last?.usage?.completion_tokens) > 0, 'the last chunk has the usage');
      return pieces;
    },
  };
}

/** Responses with the whole history. @param onEnd called with each response */
export function responseSends(
  t: Test,
  client: OpenAI,
  onEnd: (response: OpenAI.Responses.Response) => void = () => {},
): Sends {
  return {
    name: 'the library of OpenAI with responses',
    whole: async (history) => {
      const response = await client.responses.create({
        model,
        instructions,
        input: [...history],
      });
      onEnd(response);
      t.match(response, { object: 'response', status: 'completed' });
      t.ok(Number(response.usage?.total_tokens) > 0);
      return response.output_text;
    },
    streamed: async (history) => {
      const stream = client.responses.stream({ model, instructions, input: [...history] });
      const pieces: string[] = [];
      stream.on('response.output_text.delta', ({ delta }) => pieces.push(delta));
      const response = await stream.finalResponse();
      onEnd(response);
      t.equal(response.output_text, pieces.join(''));
      return pieces;
    },
  };
}

/**
 * Responses with the id of the response before, and only the new message.
 * @param begun returns the response that the first one continues; by default the first one begins the conversation
 */
export function continuedSends(
  client: OpenAI,
  begun: () => OpenAI.Responses.Response | undefined = () => undefined,
): Sends & { readonly last: OpenAI.Responses.Response | undefined } {
  let last: OpenAI.Responses.Response | undefined;
  const bodyOf = (history: readonly Turn[]) => {
    const previous = last ?? begun();
    return {
      ...{ model, instructions, input: history.at(-1)?.content ?? '' },
      ...(previous === undefined ? {} : { previous_response_id: previous.id }),
    };
  };
  return {
    name: 'the library of OpenAI with the response before',
    whole: async (history) => {
      last = await client.responses.create(bodyOf(history));
      return last.output_text;
    },
    streamed: async (history) => {
      const pieces: string[] = [];
      const stream = await client.responses.create({ ...bodyOf(history), stream: true });
      for await (const event of stream) {
        if (event.type === 'response.output_text.delta') pieces.push(event.delta);
        if (event.type === 'response.completed') last = event.response;
      }
      return pieces;
    },
    get last() {
      return last;
    },
  };
}

export async function openaiSuite(t: Test, target: ClientTarget): Promise<void> {
  const client = openaiClient(target);
  const ask = (content: string) => ({ model, messages: [{ role: 'user' as const, content }] });

  await t.test('the library of OpenAI has a conversation by completions', (t) =>
    converse(t, target, 'chat', completionSends(t, client)),
  );

  await t.test('the library of OpenAI has a conversation by responses', (t) =>
    converse(t, target, 'responses', responseSends(t, client)),
  );

  await t.test('the library of OpenAI continues the response before', (t) =>
    converse(t, target, 'previous response', continuedSends(client)),
  );

  await t.test('the instructions of a response are not those of the next', async (t) => {
    const input = '[[say one]] first';
    const first = await client.responses.create({ model, instructions, input });
    await continueWithout(t, target, client, first, 'first');
  });

  await t.test('the library of OpenAI lists models', async (t) => {
    const ids: string[] = [];
    for await (const { id } of client.models.list()) ids.push(id);
    t.strictSame(ids, ['berth', 'berth/default']);
    t.match(await client.models.retrieve(model), { id: model, object: 'model' });
  });

  await t.test('the library of OpenAI understands the errors', async (t) => {
    const stranger = new OpenAI({ baseURL: `${target.url}/v1`, apiKey: 'wrong' });
    await t.rejects(stranger.models.list(), { status: 401, code: 'invalid_api_key' });
    await t.rejects(client.chat.completions.create({ ...ask('x'), n: 2 }), {
      status: 400,
      param: 'n',
      code: 'invalid_request',
      message: /a prompt has one answer/,
    });
    const unknown = client.chat.completions.create({ ...ask('x'), model: 'gpt-4o' });
    await t.rejects(unknown, { status: 404, code: 'model_not_found' });
    const embeddings = client.embeddings.create({ model, input: 'x' });
    await t.rejects(embeddings, { status: 404, message: /cannot POST \/v1\/embeddings/ });
    const retrieved = client.responses.retrieve('resp_0');
    await t.rejects(retrieved, { status: 404, message: /cannot GET \/v1\/responses\/resp_0/ });
    const lost = client.responses.create({ model, input: 'x', previous_response_id: 'resp_0' });
    await t.rejects(lost, { status: 400, code: 'previous_response_not_found' });
    const chunks = await client.chat.completions.create({ ...ask('[[status 403]]'), stream: true });
    const reading = async (): Promise<void> => {
      for await (const _ of chunks);
    };
    await t.rejects(reading(), { code: 'permission_denied', message: /stand-in: 403/ });
    const broken = client.responses.stream({ model, input: '[[status 403]]' });
    await t.rejects(broken.finalResponse(), {
      code: 'permission_denied',
      message: /stand-in: 403/,
    });
  });
}

/** What berth adds to each response. */
export type SessionResponse = OpenAI.Responses.Response & { berth: { session_id: string } };

/**
 * A response without instructions continues the session of one with instructions.
 * @param earlier a text of the session
 * @returns the response
 */
export async function continueWithout(
  t: Test,
  { api }: Pick<ClientTarget, 'api'>,
  client: OpenAI,
  first: OpenAI.Responses.Response,
  earlier: string,
): Promise<OpenAI.Responses.Response> {
  const input = '[[say two]] without any';
  const next = await client.responses.create({ model, input, previous_response_id: first.id });
  t.equal(next.output_text, 'two');
  t.equal((next as SessionResponse).berth.session_id, (first as SessionResponse).berth.session_id);
  const asked = api.requests.findLast((each) => promptText(each)?.includes('without any'));
  t.notMatch(JSON.stringify(asked?.body?.system), instructions);
  t.match(JSON.stringify(asked?.body?.messages), earlier);
  return next;
}
