/** The suite that the official library of OpenAI must pass, unmodified, with both of its APIs. */
import OpenAI from 'openai';
import type { Test } from 'tap';
import { promptText } from '../messages-api.ts';
import { type ClientTarget, converse, instructions, type Turn } from './conversation.ts';

export async function openaiSuite(t: Test, target: ClientTarget): Promise<void> {
  const client = new OpenAI({ baseURL: `${target.url}/v1`, apiKey: target.token });
  const model = 'berth/default';
  const ask = (content: string) => ({ model, messages: [{ role: 'user' as const, content }] });

  await t.test('the library of OpenAI has a conversation by completions', async (t) => {
    const bodyOf = (history: readonly Turn[]) => {
      const system = { role: 'system' as const, content: instructions };
      return { model, messages: [system, ...history] };
    };
    await converse(t, target, 'chat', {
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
    });
  });

  await t.test('the library of OpenAI has a conversation by responses', async (t) => {
    await converse(t, target, 'responses', {
      whole: async (history) => {
        const response = await client.responses.create({
          model,
          instructions,
          input: [...history],
        });
        t.match(response, { object: 'response', status: 'completed' });
        t.ok(Number(response.usage?.total_tokens) > 0);
        return response.output_text;
      },
      streamed: async (history) => {
        const stream = client.responses.stream({ model, instructions, input: [...history] });
        const pieces: string[] = [];
        stream.on('response.output_text.delta', ({ delta }) => pieces.push(delta));
        t.equal((await stream.finalResponse()).output_text, pieces.join(''));
        return pieces;
      },
    });
  });

  await t.test('the library of OpenAI continues the response before', async (t) => {
    let previous: string | undefined;
    const bodyOf = (history: readonly Turn[]) => ({
      ...{ model, instructions, input: history.at(-1)?.content ?? '' },
      ...(previous === undefined ? {} : { previous_response_id: previous }),
    });
    await converse(t, target, 'previous response', {
      whole: async (history) => {
        const { id, output_text } = await client.responses.create(bodyOf(history));
        previous = id;
        return output_text;
      },
      streamed: async (history) => {
        const pieces: string[] = [];
        const stream = await client.responses.create({ ...bodyOf(history), stream: true });
        for await (const event of stream) {
          if (event.type === 'response.output_text.delta') pieces.push(event.delta);
          if (event.type === 'response.completed') previous = event.response.id;
        }
        return pieces;
      },
    });
  });

  await t.test('the instructions of a response are not those of the next', async (t) => {
    const first = await client.responses.create({
      model,
      instructions,
      input: '[[say one]] first',
    });
    const input = '[[say two]] without any';
    const next = await client.responses.create({ model, input, previous_response_id: first.id });
    t.equal(next.output_text, 'two');
    const sessionOf = (response: object): string =>
      (response as { berth: { session_id: string } }).berth.session_id;
    t.equal(sessionOf(next), sessionOf(first));
    const asked = target.api.requests.findLast((each) => promptText(each)?.includes('without any'));
    t.notMatch(JSON.stringify(asked?.body?.system), instructions);
    t.match(JSON.stringify(asked?.body?.messages), 'first');
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
