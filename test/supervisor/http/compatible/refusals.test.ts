import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ChatAnthropic } from '@langchain/anthropic';
import { ChatOpenAI } from '@langchain/openai';
import t from 'tap';
import { BerthError, type ErrorCode } from '../../../../shared/errors.ts';
import { chatApi, chatRules } from '../../../../supervisor/http/compatible/chat-completions.ts';
import {
  chatKeys,
  messagesKeys,
  responsesKeys,
} from '../../../../supervisor/http/compatible/message-rules.ts';
import { messagesApi, messagesRules } from '../../../../supervisor/http/compatible/messages.ts';
import type { KeyRules } from '../../../../supervisor/http/compatible/part-keys.ts';
import { responsesApi, responsesRules } from '../../../../supervisor/http/compatible/responses.ts';
import { streamOptionKeys } from '../../../../supervisor/http/compatible/shared-rules.ts';
import { startApiServer, token } from '../../../support/api-server.ts';

const { url, log } = await startApiServer(t, { maxPromptBytes: 100_000 });

async function post(path: string, body: object | string, headers: Record<string, string> = {}) {
  const response = await fetch(url + path, {
    method: 'POST',
    headers: { 'x-api-key': token, 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  // biome-ignore lint/suspicious/noExplicitAny: answers are matched, not computed with.
  const answer = (await response.json()) as any;
  return { status: response.status, headers: response.headers, body: answer };
}

const png = 'data:image/png;base64,iVBORw0KGgo=';
const user = { role: 'user', content: 'x' };
const answer = { role: 'assistant', content: 'y' };
const result = { type: 'tool_result', tool_use_id: 'a', content: 'z' };

type Refusal = [what: string, body: object, field: string];

const ofMessages: Refusal[] = [
  ['a history that does not begin with the user', { messages: [answer, user] }, 'messages'],
  ['a history that ends with an answer', { messages: [user, answer] }, 'messages'],
  ['tool results', { messages: [{ role: 'user', content: [result] }] }, 'messages.0.content.0'],
  ['an unknown role', { messages: [{ role: 'judge', content: 'x' }] }, 'messages.0.role'],
  ['an empty text', { messages: [{ role: 'user', content: ' ' }] }, 'messages.0.content'],
  ['a message that is no object', { messages: [7] }, 'messages.0'],
  ['tools', { messages: [user], tools: [{ name: 'f' }] }, 'tools'],
  ['a field that nobody knows', { messages: [user], wish: 1 }, 'wish'],
  ['a field with the name of a method', { messages: [user], constructor: 1 }, 'constructor'],
  ['stop sequences', { messages: [user], stop_sequences: ['a'] }, 'stop_sequences'],
];

for (const [what, body, field] of ofMessages) {
  t.test(`/v1/messages refuses ${what} in the error format of Anthropic`, async (t) => {
    const answered = await post('/v1/messages', { model: 'berth', max_tokens: 9, ...body });
    t.match(answered, {
      status: 400,
      body: {
        type: 'error',
        error: { type: 'invalid_request_error', berth: { code: 'invalid_request', field } },
      },
    });
    t.equal(answered.headers.get('x-should-retry'), 'false');
  });
}

const called = { role: 'assistant', content: null, tool_calls: [{ id: 'a' }] };
const ofChat: Refusal[] = [
  ['n above 1', { messages: [user], n: 2 }, 'n'],
  ['logprobs', { messages: [user], logprobs: true }, 'logprobs'],
  ['functions', { messages: [user], functions: [{}] }, 'functions'],
  ['calls of tools', { messages: [user, called, user] }, 'messages.1'],
  [
    'the call of a function beside empty calls of tools',
    { messages: [user, { ...answer, tool_calls: [], function_call: { name: 'f' } }, user] },
    'messages.1',
  ],
  ['results of tools', { messages: [user, { role: 'tool', content: 'x' }] }, 'messages.1'],
  [
    'instructions in the middle',
    { messages: [user, answer, { role: 'system', content: 'x' }, user] },
    'messages.2',
  ],
  [
    'a JSON object without a schema',
    { messages: [user], response_format: { type: 'json_object' } },
    'response_format',
  ],
];

for (const [what, body, param] of ofChat) {
  t.test(`/v1/chat/completions refuses ${what} in the error format of OpenAI`, async (t) => {
    const answered = await post('/v1/chat/completions', { model: 'berth', ...body });
    const error = { type: 'invalid_request_error', code: 'invalid_request', param };
    t.match(answered, { status: 400, body: { error } });
  });
}

const ofResponses: Refusal[] = [
  ['background', { input: 'x', background: true }, 'background'],
  ['calls of functions', { input: [{ type: 'function_call' }] }, 'input.0'],
  [
    'answers after previous_response_id',
    { input: [answer, user], previous_response_id: 'resp_0' },
    'input',
  ],
];

for (const [what, body, param] of ofResponses) {
  t.test(`/v1/responses refuses ${what}`, async (t) => {
    const answered = await post('/v1/responses', { model: 'berth', ...body });
    t.match(answered, { status: 400, body: { error: { param } } });
  });
}

t.test('a refusal of the profile names the field of the request', async (t) => {
  const system = 'x'.repeat(40_000);
  const long = await post('/v1/messages', {
    model: 'berth',
    max_tokens: 9,
    messages: [user],
    system,
  });
  const { error } = long.body;
  t.match(error, { message: /^cannot use "system": .*32768/, berth: { field: 'system' } });
  const param = async (path: string, body: object): Promise<unknown> =>
    (await post(path, { model: 'berth', ...body })).body.error.param;
  const json_schema = { name: 'a', schema: { type: 'string' } };
  const type = 'json_schema';
  const chat = { messages: [user], response_format: { type, json_schema } };
  t.equal(await param('/v1/chat/completions', chat), 'response_format');
  const text = { format: { type, ...json_schema } };
  t.equal(await param('/v1/responses', { input: 'x', text }), 'text.format');
  const developer = [{ role: 'developer', content: 'x' }];
  t.equal(await param('/v1/responses', { input: developer }), 'input');
  t.equal(await param('/v1/chat/completions', { messages: developer }), 'messages');
});

t.test('a message with only a picture needs a text beside it', async (t) => {
  const picture = { role: 'user', content: [{ type: 'image_url', image_url: { url: png } }] };
  const ask = (...messages: object[]) => post('/v1/chat/completions', { model: 'berth', messages });
  t.equal((await ask(picture, user)).status, 200);
  t.equal((await ask(picture, answer, user)).status, 200, 'the history may have such a message');
  const message = /its new message has only files; say in a text/;
  t.match(await ask(user, answer, picture), { status: 400, body: { error: { message } } });
});

t.test('a body of very many levels is refused before anything repeats it', async (t) => {
  const refused = { status: 400, body: { error: { message: /more than 100 levels/ } } };
  for (const levels of [200, 6_000]) {
    const nested = `${'['.repeat(levels)}${']'.repeat(levels)}`;
    const head = '{"model":"berth","input":"x","stream":true';
    t.match(await post('/v1/responses', `${head},"metadata":{"a":${nested}}}`), refused);
    t.match(await post('/v1/responses', `${head},"text":{"a":${nested}}}`), refused);
  }
  const lists = await post('/v1/responses', { model: 'berth', input: 'x', metadata: { a: [] } });
  t.match(lists, { status: 400, body: { error: { message: /metadata\.a/ } } });
});

t.test('a name of a file that is too long is refused with its field', async (t) => {
  const name = `a${'.'.repeat(50_000)}b`;
  const data = Buffer.from('x').toString('base64');
  const url = `data:text/plain;base64,${data}`;
  const source = { type: 'base64', media_type: 'text/plain', data };
  const of = (part: object) => [{ role: 'user', content: [part] }];
  const at = (field: string) => ({ status: 400, body: { error: { param: field } } });
  const document = { messages: of({ type: 'document', title: name, source }) };
  for (const path of ['/v1/messages', '/v1/messages/count_tokens']) {
    const answered = await post(path, { model: 'berth', max_tokens: 9, ...document });
    const error = { berth: { field: 'messages.0.content.0.title' } };
    t.match(answered, { status: 400, body: { error } }, path);
  }
  const inChat = of({ type: 'file', file: { file_data: url, filename: name } });
  t.match(
    await post('/v1/chat/completions', { model: 'berth', messages: inChat }),
    at('messages.0.content.0.file.filename'),
  );
  const input = of({ type: 'input_file', file_data: url, filename: name });
  t.match(await post('/v1/responses', { model: 'berth', input }), at('input.0.content.0.filename'));
});

t.test('a command in the text of a document is not run', (t) => {
  const source = { type: 'text', data: '/deploy prod' };
  const content = [
    { type: 'document', source },
    { type: 'text', text: 'Summarise it.' },
  ];
  const { messages } = messagesApi.read({
    model: 'berth',
    messages: [{ role: 'user', content }],
  }).conversation;
  const text = 'Document "untitled":\n\n/deploy prod\n\nSummarise it.';
  t.strictSame(messages, [{ role: 'user', text }]);
  t.end();
});

t.test('libraries do not repeat an interrupted turn, which was paid for', async (t) => {
  let code: ErrorCode = 'interrupted';
  let prompts = 0;
  const failing = await startApiServer(t, {
    run: () => {
      prompts += 1;
      return Promise.reject(new BerthError(code, 'cannot answer the prompt'));
    },
  });
  const ask = async (): Promise<string | null> => {
    const response = await fetch(`${failing.url}/v1/messages`, {
      method: 'POST',
      headers: { 'x-api-key': token, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'berth', max_tokens: 9, messages: [user] }),
    });
    await response.text();
    return response.headers.get('x-should-retry');
  };
  t.equal(await ask(), 'false');
  const fields = { model: 'berth', apiKey: token };
  const chats = [
    new ChatAnthropic({ ...fields, anthropicApiUrl: failing.url }),
    new ChatOpenAI({ ...fields, configuration: { baseURL: `${failing.url}/v1` } }),
  ];
  for (const chat of chats) {
    prompts = 0;
    await t.rejects(chat.invoke('x'), { status: 400, message: /cannot answer the prompt/ });
    t.equal(prompts, 1);
  }
  code = 'queue_full';
  t.equal(await ask(), 'true');
});

t.test('the error event of Responses has the type of an event', (t) => {
  const frame = { id: 'resp_1', model: 'berth', created: 0, body: {} };
  const error = { error: { message: 'no', type: 'server_error', code: 'internal' } };
  const [, data = ''] = responsesApi.stream(frame).fail(error).split('event: error\ndata: ');
  t.match(JSON.parse(data), { type: 'error', message: 'no', code: 'internal', ...error });
  t.end();
});

t.test('a parameter without effect is accepted with a warning', async (t) => {
  const plain = { model: 'berth', messages: [user], temperature: 1, n: 1, tools: [], user: 'u-7' };
  const silent = await post('/v1/chat/completions', plain);
  t.equal(silent.status, 200);
  t.equal(silent.headers.get('berth-warning'), null);
  const warm = await post('/v1/chat/completions', { ...plain, temperature: 0.2, seed: 7 });
  t.equal(warm.status, 200);
  t.match(warm.headers.get('berth-warning'), /^temperature: .*; seed: /);
  t.notMatch(log.text, 'u-7', 'the user of a request is not logged');
});

t.test('the warning names each part of a message that the model does not get', async (t) => {
  const picture = { type: 'image_url', image_url: { url: png, detail: 'high' } };
  const { warnings } = chatApi.read({
    model: 'berth',
    messages: [
      { ...user, name: 'Ann' },
      answer,
      { role: 'user', content: [{ type: 'text', text: 'x' }, picture] },
    ],
  });
  t.match(warnings, [/^name: /, /^detail: /]);
  const input = { model: 'berth', input: 'x', text: { verbosity: 'low' } };
  t.match(responsesApi.read(input).warnings, [/^text\.verbosity: /]);
  const padded = { ...input, text: null, stream_options: { include_obfuscation: true } };
  t.match(responsesApi.read(padded).warnings, [/^include_obfuscation: /]);
  const plain = { ...padded, stream_options: { include_obfuscation: false } };
  t.strictSame(responsesApi.read(plain).warnings, []);
  const document = { type: 'document', source: { type: 'text', data: 'x' }, context: 'a note' };
  const cited = { ...document, citations: { enabled: true } };
  const messages = [{ role: 'user', content: [cited] }];
  const read = messagesApi.read({ model: 'berth', messages, output_config: { effort: 'low' } });
  t.match(read.warnings, [/^output_config\.effort: /, /^citations: /]);
  t.match(read.conversation.messages, [{ text: 'Document "untitled" ("a note"):\n\nx' }]);
  const keyed = { model: 'berth', messages: [user] };
  const { headers } = await post('/v1/chat/completions', keyed, { 'idempotency-key': 'k' });
  t.match(headers.get('berth-warning'), /^Idempotency-Key: /);
});

t.test('the text of a refusal of the assistant is the text of its message', (t) => {
  const said = 'I will not.';
  const refused = { role: 'assistant', content: null, refusal: said };
  const inPart = { role: 'assistant', content: [{ type: 'refusal', refusal: said }] };
  const messages = [user, refused, user, inPart, user];
  const { conversation } = chatApi.read({ model: 'berth', messages });
  t.match(conversation.messages[1], { role: 'assistant', text: said });
  t.match(conversation.messages[3], { role: 'assistant', text: said });
  t.end();
});

type Read = [api: typeof messagesApi, body: object];
const content = (part: object) => [{ role: 'user', content: [{ type: 'text', text: 'x' }, part] }];
const unknownKeys: [what: string, read: Read, field: string][] = [
  ['of a message', [messagesApi, { messages: [{ ...user, id: 'a' }] }], 'messages.0.id'],
  [
    'of a text',
    [messagesApi, { messages: content({ type: 'text', text: 'y', wish: 1 }) }],
    'messages.0.content.1.wish',
  ],
  [
    'of instructions',
    [messagesApi, { messages: [user], system: [{ type: 'text', text: 'y', wish: 1 }] }],
    'system.0.wish',
  ],
  [
    'of a source',
    [messagesApi, { messages: content({ type: 'image', source: { type: 'base64', wish: 1 } }) }],
    'messages.0.content.1.source.wish',
  ],
  [
    'of a picture',
    [chatApi, { messages: content({ type: 'image_url', image_url: { url: png, crop: 1 } }) }],
    'messages.0.content.1.image_url.crop',
  ],
  [
    'with the id of a file beside its data',
    [chatApi, { messages: content({ type: 'file', file: { file_data: png, file_id: 'f' } }) }],
    'messages.0.content.1.file.file_id',
  ],
  [
    'with the address of a file',
    [responsesApi, { input: content({ type: 'input_file', file_url: 'http://a/' }) }],
    'input.0.content.1.file_url',
  ],
  ['of an item', [responsesApi, { input: [{ ...user, wish: 1 }] }], 'input.0.wish'],
  [
    'of stream_options',
    [chatApi, { messages: [user], stream_options: { a: 1 } }],
    'stream_options.a',
  ],
  [
    'of stream_options',
    [responsesApi, { input: 'x', stream_options: { a: 1 } }],
    'stream_options.a',
  ],
  [
    'of a schema',
    [chatApi, { messages: [user], response_format: { type: 'text', wish: 1 } }],
    'response_format.wish',
  ],
];
for (const [what, [api, body], field] of unknownKeys) {
  t.test(`a key ${what} that berth cannot support is refused`, (t) => {
    try {
      api.read({ model: 'berth', ...body });
      t.fail('it was accepted');
    } catch (error) {
      t.match(error, { code: 'invalid_request', details: { field } });
    }
    t.end();
  });
}

t.test('an answer of berth can be sent back as a message', (t) => {
  const frame = { id: 'x_1', model: 'berth', created: 0, body: {} };
  const usage = { input_tokens: 1, output_tokens: 1, cache_read_input_tokens: 0 };
  const reply = { text: 'y', answer: { usage, stop_reason: 'end_turn', warnings: [] } } as never;
  const chat = chatApi.whole(frame, reply) as { choices: [{ message: object }] };
  const messages = [user, chat.choices[0].message, user];
  t.strictSame(chatApi.read({ model: 'berth', messages }).warnings, []);
  const response = responsesApi.whole(frame, reply) as { output: object[] };
  const input = [user, ...response.output, user];
  t.strictSame(responsesApi.read({ model: 'berth', input }).warnings, []);
  const message = messagesApi.whole(frame, reply) as { content: object[] };
  const said = { role: 'assistant', content: message.content };
  t.strictSame(messagesApi.read({ model: 'berth', messages: [user, said, user] }).warnings, []);
  t.end();
});

t.test('cache_control of parts has no effect, and is no reason for a warning', (t) => {
  const cache_control = { type: 'ephemeral' };
  const text = { type: 'text', text: 'x', cache_control };
  const messages = [{ role: 'user', content: [text] }];
  const body = { model: 'berth', messages, system: [{ ...text, citations: null }] };
  t.strictSame(messagesApi.read(body).warnings, []);
  t.strictSame(chatApi.read({ model: 'berth', messages }).warnings, []);
  t.end();
});

t.test('the context of a file reaches the model', (t) => {
  const source = { type: 'base64', media_type: 'image/png', data: png.split(',')[1] };
  const document = { type: 'document', source, title: 'plan.png', context: 'a note' };
  const body = { model: 'berth', messages: content(document) };
  const { messages } = messagesApi.read(body).conversation;
  t.match(messages, [{ text: 'x\n\nDocument "plan.png" ("a note") is attached.' }]);
  t.equal(messages[0]?.attachments?.length, 1);
  t.end();
});

t.test('a value with a method of the client is refused like every other', async (t) => {
  const hostile = { toString: 'x' };
  for (const message of [
    { role: hostile, content: 'x' },
    { role: 'user', content: [{ type: hostile, text: 'x' }] },
    { role: 'user', content: [{ type: ['text'], text: 'x' }] },
  ]) {
    const chat = { model: 'berth', messages: [message] };
    t.match(await post('/v1/chat/completions', chat), { status: 400 });
  }
  const schema = { messages: [user], response_format: { type: hostile } };
  t.match(await post('/v1/chat/completions', { model: 'berth', ...schema }), { status: 400 });
  const input = [{ type: hostile }];
  t.match(await post('/v1/responses', { model: 'berth', input }), { status: 400 });
  const text = { format: { type: hostile } };
  t.match(await post('/v1/responses', { model: 'berth', input: 'x', text }), { status: 400 });
});

t.test('a body that is too large has the shape of its API', async (t) => {
  const messages = [{ role: 'user', content: 'x'.repeat(200_000) }];
  const anthropic = await post('/v1/messages', { model: 'berth', max_tokens: 9, messages });
  t.match(anthropic, { status: 413, body: { error: { type: 'request_too_large' } } });
  const openai = await post('/v1/chat/completions', { model: 'berth', messages });
  t.match(openai, { status: 413, body: { error: { code: 'payload_too_large' } } });
  const many = Array.from({ length: 10_000 }, () => user);
  t.match(await post('/v1/chat/completions', { model: 'berth', messages: many }), { status: 413 });
});

t.test('x-api-key is a token only where clients of Anthropic call', async (t) => {
  const wrong = await post('/v1/messages', {}, { 'x-api-key': 'wrong' });
  t.match(wrong, { status: 401, body: { type: 'error', error: { type: 'authentication_error' } } });
  t.match(await post('/v1/prompts', { prompt: 'x' }), { status: 401 });
  const both = { authorization: `Bearer ${token}`, 'x-api-key': 'wrong' };
  const question = { model: 'berth', max_tokens: 9, messages: [user] };
  t.match(await post('/v1/messages', question, both), { status: 200 });
});

t.test('docs/clients.md has each field that berth decides about', (t) => {
  const text = readFileSync(join(import.meta.dirname, '../../../../docs/clients.md'), 'utf8');
  const read = ['messages', 'input', 'stream_options', 'text', 'include', 'prompt'];
  for (const { accepted, warned, refused } of [messagesRules, chatRules, responsesRules]) {
    for (const field of [...accepted, ...Object.keys(warned), ...Object.keys(refused)]) {
      t.ok(read.includes(field) || new RegExp(`\`[^\`]*\\b${field}\\b`).test(text), field);
    }
  }
  const keysOf = ({ accepted, warned = {}, refused = {}, within = {} }: KeyRules): string[] => [
    ...[...accepted, ...Object.keys(warned), ...Object.keys(refused), ...Object.keys(within)],
    ...Object.values(within).flatMap(keysOf),
  ];
  const known = [...read, 'role', 'content', 'type', 'source', 'data', 'media_type', 'url'];
  for (const key of keysOf(streamOptionKeys)) t.match(text, key);
  for (const { message, parts } of [messagesKeys, chatKeys, responsesKeys]) {
    for (const key of [message, ...Object.values(parts)].flatMap(keysOf)) {
      t.ok(known.includes(key) || new RegExp(`\`[^\`]*\\b${key}\\b`).test(text), key);
    }
  }
  t.end();
});
