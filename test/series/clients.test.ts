import type OpenAI from 'openai';
import t from 'tap';
import {
  anthropicClient,
  anthropicSends,
  sendPictures,
} from '../support/client-suites/anthropic.ts';
import { converse } from '../support/client-suites/conversation.ts';
import { langchainModels, langchainSends } from '../support/client-suites/langchain.ts';
import {
  completionSends,
  continuedSends,
  continueWithout,
  openaiClient,
  responseSends,
} from '../support/client-suites/openai.ts';
import { promptText } from '../support/messages-api.ts';
import { startWithRealCli, token } from '../support/supervisor.ts';

/**
 * What the suites of test/supervisor/http/compatible/clients.test.ts need of the CLI, with the real CLI. A session
 * costs a process of two seconds of CPU time, so one session serves the libraries one after the other.
 */
const { url, surroundings, log } = await startWithRealCli(t, {
  settings: { BERTH_MAX_WORKERS: '4' },
  environment: { CLAUDE_CODE_MAX_RETRIES: '0' },
});
const { api } = surroundings;
const target = { url, token };
const anthropic = anthropicClient(target);
const openai = openaiClient(target);

await t.test('all libraries continue one conversation, whole and streamed', async (t) => {
  let response: OpenAI.Responses.Response | undefined;
  const continued = continuedSends(openai, () => response);
  const libraries = Object.entries(langchainModels(target)).map(([name, chat]) =>
    langchainSends(t, name, chat),
  );
  const responses = responseSends(t, openai, (each) => {
    response = each;
  });
  libraries.push(completionSends(t, openai), responses, continued);
  const turns = 2 * (1 + libraries.length);
  await converse(t, { api, turns }, 'one', anthropicSends(t, anthropic), ...libraries);
  t.notMatch(JSON.stringify(api.requests), 'somebody-private');

  const { last } = continued;
  if (!last) throw new Error('the last response of the conversation has not come');
  let previous_response_id = '';
  await t.test('the instructions of a response are not those of the next', async (t) => {
    previous_response_id = (await continueWithout(t, { api }, openai, last, 'question 1"')).id;
  });

  await t.test('an error of the API is the error of a stream', async (t) => {
    const body = { model: 'berth/default', input: '[[status 403]]', previous_response_id };
    await t.rejects(openai.responses.stream(body).finalResponse(), {
      code: 'permission_denied',
      message: /stand-in: 403/,
    });
  });
});

await t.test('the library of Anthropic sends pictures and documents', (t) =>
  sendPictures(t, { api }, anthropic),
);

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
