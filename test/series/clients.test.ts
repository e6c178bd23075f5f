import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import t from 'tap';
import { anthropicSuite } from '../support/client-suites/anthropic.ts';
import { langchainSuite } from '../support/client-suites/langchain.ts';
import { openaiSuite } from '../support/client-suites/openai.ts';
import { promptText } from '../support/messages-api.ts';
import { startWithRealCli, token } from '../support/supervisor.ts';

// The suites of test/supervisor/http/compatible/clients.test.ts, with the real CLI and a conversation of ten turns.
const { url, surroundings, log } = await startWithRealCli(t, {
  settings: { BERTH_MAX_WORKERS: '4' },
  environment: { CLAUDE_CODE_MAX_RETRIES: '0' },
});
const { api } = surroundings;
const target = { url, token, api, turns: 10 };
const anthropic = new Anthropic({ baseURL: url, apiKey: token, authToken: null });
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: token });

await t.test('Anthropic', (t) => anthropicSuite(t, target));
await t.test('OpenAI', (t) => openaiSuite(t, { ...target, turns: 4 }));
await t.test('LangChain', (t) => langchainSuite(t, { ...target, turns: 2 }));

await t.test('an output for a schema is the text of the answer', async (t) => {
  const schema = {
    type: 'object',
    properties: { mood: { type: 'string' } },
    required: ['mood'],
    additionalProperties: false,
  };
  const content = '[[tool StructuredOutput {"mood":"good"}]] which mood?';
  const json_schema = { name: 'mood', strict: true, schema };
  const body = {
    model: 'berth',
    messages: [{ role: 'user' as const, content }],
    response_format: { type: 'json_schema' as const, json_schema },
  };
  let text = '';
  for await (const { choices } of await openai.chat.completions.create({ ...body, stream: true })) {
    text += choices[0]?.delta.content ?? '';
  }
  t.strictSame(JSON.parse(text), { mood: 'good' }, 'a stream has nothing else');
});

await t.test('the CLI forks an earlier history without the later messages', async (t) => {
  const ask = async (...texts: string[]) => {
    const messages = texts.map((content, index) => ({
      role: index % 2 === 0 ? ('user' as const) : ('assistant' as const),
      content,
    }));
    const body = { model: 'berth', max_tokens: 99, messages };
    const { content } = await anthropic.messages.create(body);
    const asked = api.requests.findLast((each) => promptText(each) === texts.at(-1));
    t.match(content, [{ type: 'text' }]);
    return JSON.stringify(asked?.body?.messages);
  };
  await ask('[[say one]] alpha');
  await ask('[[say one]] alpha', 'one', '[[say two]] beta');
  const forked = await ask('[[say one]] alpha', 'one', '[[say three]] gamma');
  t.match(forked, 'alpha');
  t.notMatch(forked, /beta|<conversation>/);
});

t.notMatch(log.text, token, 'no log line has the token');
t.notMatch(log.text, 'somebody-private', 'no log line has the user of metadata');
