/** The suite that the official library of Anthropic must pass, unmodified. */
import Anthropic from '@anthropic-ai/sdk';
import type { Test } from 'tap';
import {
  type ClientAddress,
  type ClientTarget,
  converse,
  instructions,
  type Sends,
} from './conversation.ts';

/** A PNG of one pixel. */
const picture =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const fields = { model: 'berth/default', max_tokens: 1_024 } as const;

export function anthropicClient({ url, token }: ClientAddress): Anthropic {
  return new Anthropic({ baseURL: url, apiKey: token, authToken: null });
}

/** Names the caller's user in the metadata, which nobody else may see. */
export function anthropicSends(t: Test, client: Anthropic): Sends {
  const private_ = { metadata: { user_id: 'somebody-private' } };
  const body = { ...fields, ...private_, system: instructions };
  return {
    name: 'the library of Anthropic',
    whole: async (history) => {
      const message = await client.messages.create({ ...body, messages: [...history] });
      t.match(message, {
        type: 'message',
        role: 'assistant',
        model: 'berth/default',
        stop_reason: 'end_turn',
      });
      t.ok(message.usage.output_tokens > 0);
      return message.content.map((block) => (block.type === 'text' ? block.text : '')).join('');
    },
    streamed: async (history) => {
      const stream = client.messages.stream({ ...body, messages: [...history] });
      const pieces: string[] = [];
      stream.on('text', (delta) => pieces.push(delta));
      const message = await stream.finalMessage();
      t.match(message.content, [{ type: 'text', text: pieces.join('') }]);
      t.equal(message.stop_reason, 'end_turn');
      t.ok(message.usage.output_tokens > 0);
      return pieces;
    },
  };
}

export async function anthropicSuite(t: Test, target: ClientTarget): Promise<void> {
  const client = anthropicClient(target);
  const ask = (content: string) => ({ ...fields, messages: [{ role: 'user' as const, content }] });

  await t.test('the library of Anthropic has a conversation, whole and streamed', async (t) => {
    await converse(t, target, 'anthropic', anthropicSends(t, client));
    t.notMatch(JSON.stringify(target.api.requests.at(-1)?.body), 'somebody-private');
  });

  await t.test('the library of Anthropic counts tokens and lists models', async (t) => {
    const messages = [{ role: 'user' as const, content: 'x'.repeat(3_500) }];
    const { input_tokens } = await client.messages.countTokens({ model: 'berth', messages });
    t.equal(input_tokens, 1_004);
    const ids: string[] = [];
    for await (const { id, display_name } of client.models.list()) {
      ids.push(id);
      t.type(display_name, 'string');
    }
    t.strictSame(ids, ['berth', 'berth/default']);
    t.match(await client.models.retrieve('berth/default'), { id: 'berth/default', type: 'model' });
    await t.rejects(client.models.retrieve('nothing'), Anthropic.NotFoundError);
  });

  await t.test('the library of Anthropic understands the errors', async (t) => {
    const stranger = new Anthropic({ baseURL: target.url, apiKey: 'wrong', authToken: null });
    await t.rejects(stranger.messages.create(ask('x')), Anthropic.AuthenticationError);
    const tools = [{ name: 'f', input_schema: { type: 'object' as const } }];
    await t.rejects(client.messages.create({ ...ask('x'), tools }), {
      status: 400,
      message: /invalid_request_error.*tools/,
    });
    const unknown = { ...ask('x'), model: 'gpt-4o' };
    await t.rejects(client.messages.create(unknown), Anthropic.NotFoundError);
    await t.rejects(client.messages.batches.list(), {
      ...{ status: 404, message: /not_found_error.*cannot GET \/v1\/messages\/batches/ },
    });
    const broken = client.messages.stream(ask('[[status 403]]')).finalMessage();
    await t.rejects(broken, { message: /stand-in: 403/ });
  });

  await t.test('the library of Anthropic sends pictures and documents', (t) =>
    sendPictures(t, target, client),
  );

  await t.test('a request for one token costs nothing', async (t) => {
    const before = target.api.requests.length;
    const body = { ...ask('Hey'), model: 'claude-3-haiku-20240307', max_tokens: 1 };
    const message = await client.messages.create(body);
    const probed = {
      content: [{ type: 'text', text: 'ok' }],
      ...{ stop_reason: 'max_tokens', usage: { output_tokens: 0 } },
    };
    t.match(message, probed);
    t.match(await client.messages.stream(body).finalMessage(), probed);
    t.equal(target.api.requests.length, before);
  });
}

/** A picture, the turn after the picture, and a picture by its address, which is refused. */
export async function sendPictures(
  t: Test,
  target: Pick<ClientTarget, 'api'>,
  client: Anthropic,
): Promise<void> {
  const source = { type: 'base64' as const, media_type: 'image/png' as const, data: picture };
  const text = { type: 'text' as const, text: '[[say seen]] what is this?' };
  const content = [{ type: 'image' as const, source }, text];
  const first = { role: 'user' as const, content };
  const seen = await client.messages.create({ ...fields, messages: [first] });
  // The CLI adds a text about the picture, so the directive may not count.
  t.match(seen.content, [{ type: 'text' }]);
  const messages = [
    first,
    { role: 'assistant' as const, content: seen.content },
    { role: 'user' as const, content: '[[say again]] and now?' },
  ];
  await client.messages.create({ ...fields, messages });
  const sent = JSON.stringify(target.api.requests.at(-1)?.body?.messages);
  t.equal(sent.split(picture).length, 2, 'the session has the picture once');
  const remote = { type: 'url' as const, url: 'https://example.com/x.png' };
  const byUrl = [{ type: 'image' as const, source: remote }, text];
  await t.rejects(
    client.messages.create({ ...fields, messages: [{ role: 'user', content: byUrl }] }),
    { status: 400, message: /downloads nothing/ },
  );
}
