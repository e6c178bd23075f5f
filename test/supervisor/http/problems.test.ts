import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { promptText } from '../../support/messages-api.ts';
import { type CallOptions, startSupervisor, token } from '../../support/supervisor.ts';

const unknown = '6f1c3b0e-6b0f-4b57-8d28-5d3c1f0f7a11';
const prompts = (body: unknown, headers: Record<string, string> = {}): CallOptions => ({
  body,
  headers,
});

interface Case {
  what: string;
  request: [method: string, path: string, options?: CallOptions];
  status: number;
  code: string;
  /** Cause and remedy. */
  detail: RegExp;
}

const cases: Case[] = [
  {
    what: 'no token',
    request: ['GET', '/v1/status', { headers: { authorization: '' } }],
    status: 401,
    code: 'unauthorized',
    detail: /it carries no token; send "Authorization: Bearer <token>"/,
  },
  {
    what: 'a token of another scheme',
    request: ['GET', '/v1/status', { headers: { authorization: `Basic ${token}` } }],
    status: 401,
    code: 'unauthorized',
    detail: /it carries no token/,
  },
  {
    what: 'a wrong token',
    request: ['POST', '/v1/prompts', { token: 'a-wrong-one', body: { prompt: 'hi' } }],
    status: 401,
    code: 'unauthorized',
    detail: /the token is unknown; send .* BERTH_API_TOKENS_FILE/,
  },
  {
    what: 'an unknown route without a token',
    request: ['GET', '/v1/secrets', { headers: { authorization: '' } }],
    status: 401,
    code: 'unauthorized',
    detail: /no token/,
  },
  {
    what: 'malformed JSON',
    request: ['POST', '/v1/prompts', prompts('{"prompt": ')],
    status: 400,
    code: 'invalid_request',
    detail: /its body is not valid JSON .*; correct it, see \/openapi\.json/,
  },
  {
    what: 'an empty body',
    request: ['POST', '/v1/prompts', prompts('')],
    status: 400,
    code: 'invalid_request',
    detail: /expected object/,
  },
  {
    what: 'JSON that is no object',
    request: ['POST', '/v1/prompts', prompts('["prompt"]')],
    status: 400,
    code: 'invalid_request',
    detail: /expected object.*; see \/openapi\.json/,
  },
  {
    what: 'an unknown field',
    request: ['POST', '/v1/prompts', prompts({ prompt: 'hi', promt: 'hi' })],
    status: 400,
    code: 'invalid_request',
    detail: /"promt".*; see \/openapi\.json/,
  },
  {
    what: 'an empty prompt',
    request: ['POST', '/v1/prompts', prompts({ prompt: ' \n' })],
    status: 400,
    code: 'invalid_request',
    detail: /prompt: it is empty/,
  },
  {
    what: 'a prompt that is no text',
    request: ['POST', '/v1/prompts', prompts({ prompt: 7 })],
    status: 400,
    code: 'invalid_request',
    detail: /prompt: expected a text/,
  },
  {
    what: 'a body of 2 MB',
    request: ['POST', '/v1/prompts', prompts({ prompt: 'x'.repeat(2_000_000) })],
    status: 413,
    code: 'payload_too_large',
    detail:
      /its body is larger than 1Mi besides its attachments; put large input .* raise BERTH_MAX_PROMPT_BYTES/,
  },
  {
    what: 'another media type',
    request: ['POST', '/v1/prompts', prompts('prompt=hi', { 'content-type': 'text/csv' })],
    status: 415,
    code: 'unsupported_media_type',
    detail: /not JSON; send content-type: application\/json/,
  },
  {
    what: 'an unknown session',
    request: ['POST', '/v1/prompts', prompts({ prompt: 'hi', session_id: unknown })],
    status: 404,
    code: 'session_not_found',
    detail: /this token has no session with this id; omit session_id/,
  },
  {
    what: 'a session that is no UUID',
    request: ['POST', '/v1/prompts', prompts({ prompt: 'hi', session_id: '../../etc/passwd' })],
    status: 400,
    code: 'invalid_request',
    detail: /session_id: expected the session_id of an earlier answer/,
  },
  ...['soon', '0s', '-1s', '2h', '90', ''].map((timeout) => ({
    what: `the timeout ${JSON.stringify(timeout)}`,
    request: ['POST', '/v1/prompts', prompts({ prompt: 'hi', timeout })] as Case['request'],
    status: 400,
    code: 'invalid_request',
    detail: /expected a duration such as "90s", at most 280s; .*BERTH_PROMPT_TIMEOUT/,
  })),
  {
    what: 'metadata that is no text',
    request: ['POST', '/v1/prompts', prompts({ prompt: 'hi', metadata: { run: 7 } })],
    status: 400,
    code: 'invalid_request',
    detail: /metadata\.run/,
  },
  {
    what: 'an unknown route',
    request: ['GET', '/v1/secrets'],
    status: 404,
    code: 'route_not_found',
    detail: /^cannot GET \/v1\/secrets: the resource does not exist; see \/openapi\.json$/,
  },
  {
    what: 'a wrong method',
    request: ['GET', '/v1/prompts?x=1'],
    status: 405,
    code: 'method_not_allowed',
    detail: /does not support this method; use POST$/,
  },
];

t.test('every bad request is a problem with a code, a cause and a remedy', async (t) => {
  const { call, surroundings } = await startSupervisor(t);
  for (const { what, request, status, code, detail } of cases) {
    await t.test(what, async (t) => {
      const answer = await call(...request);
      t.equal(answer.status, status);
      t.equal(answer.headers.get('content-type'), 'application/problem+json');
      t.match(answer.body, { type: 'about:blank', status, code, retryable: false, detail });
      t.ok(answer.body.title);
      t.notMatch(JSON.stringify(answer.body), token);
    });
  }
  t.equal((await call('GET', '/v1/prompts')).headers.get('allow'), 'POST');
  const { headers } = await call('GET', '/v1/status', { token: 'a-wrong-one' });
  t.equal(headers.get('www-authenticate'), 'Bearer realm="berth"');
  t.same(surroundings.api.requests, [], 'none of them has reached the model');
});

t.test('a bad request for a stream is a problem too, not a stream', async (t) => {
  const { call } = await startSupervisor(t);
  const answer = await call('POST', '/v1/prompts', {
    ...prompts({ prompt: '' }, { accept: 'text/event-stream' }),
  });
  t.match(answer, { status: 400, body: { code: 'invalid_request' } });
});

t.test('a full queue answers 429 with Retry-After', async (t) => {
  const { prompt, surroundings } = await startSupervisor(t, {
    settings: { BERTH_MAX_WORKERS: '1', BERTH_QUEUE_LIMIT: '0' },
  });
  const leaving = new AbortController();
  const served = prompt('[[hang stream]]', {}, { signal: leaving.signal });
  t.teardown(() => leaving.abort());
  served.catch(() => {});
  await surroundings.api.waitForRequest((request) => promptText(request) === '[[hang stream]]');
  const answer = await prompt('hello');
  t.match(answer, { status: 429, body: { code: 'queue_full', retryable: true } });
  t.match(Number(answer.headers.get('retry-after')) > 0, true);
});

t.test('data that is not HTTP gets an answer, and the server continues', async (t) => {
  const { url, call } = await startSupervisor(t);
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.end('\x16\x03\x01 hello\r\n\r\n');
  t.match(await text(socket), /^HTTP\/1\.1 400 /);
  t.equal((await call('GET', '/v1/status')).status, 200);
});
