import t from 'tap';
import { ValuesInTexts } from '../../../supervisor/http/body-values.ts';
import { startApiServer, token } from '../../support/api-server.ts';

const refused = { status: 413, body: { code: 'payload_too_large' } };
const many = 300_000;

t.test('a body with too many values is refused before it is parsed', async (t) => {
  const { url } = await startApiServer(t);
  const send = async (path: string, body: string | FormData) => {
    const json = typeof body === 'string' ? { 'content-type': 'application/json' } : {};
    const headers = { authorization: `Bearer ${token}`, ...json };
    const response = await fetch(url + path, { method: 'POST', headers, body });
    return { status: response.status, body: (await response.json()) as object };
  };
  const parsed = t.capture(JSON, 'parse', JSON.parse);
  const objects = `{"prompt":"x","metadata":[${'{},'.repeat(many)}{}]}`;
  const keys = Array.from({ length: 80_000 }, (_, index) => `"${index}":0`).join(',');
  const form = new FormData();
  form.append('prompt', 'x');
  for (const name of ['metadata', 'request']) form.append(name, `{"a":[${'0,'.repeat(14_500)}0]}`);
  for (const path of ['/v1/prompts', '/v1/jobs', '/mcp']) {
    t.match(await send(path, objects), refused, path);
    t.match(await send(path, `{${keys}}`), refused, path);
    if (path !== '/mcp') t.match(await send(path, form), refused, path);
  }
  for (const path of ['/v1/messages', '/v1/chat/completions', '/v1/responses']) {
    t.equal((await send(path, objects)).status, 413, path);
  }
  const eight = await Promise.all(Array.from({ length: 8 }, () => send('/v1/prompts', objects)));
  for (const each of eight) t.match(each, refused);
  const longest = Math.max(0, ...parsed().map(({ args: [text] }) => text.length));
  t.ok(longest < 50_000, 'nothing long was parsed');
});

t.test('values are counted outside the strings of a text', async (t) => {
  const values = (text: string) => () => new ValuesInTexts(10).add(text);
  const text = JSON.stringify(`\\"${'[,{"\\'.repeat(many)}\\`);
  t.doesNotThrow(values(`{"a":${text},"b":[${text}]}`));
  t.doesNotThrow(values(`"${'['.repeat(many)}`), 'a string without an end');
  t.throws(values(`{"a":"\\\\",${'[],'.repeat(many)}`), refused.body);
  const both = new ValuesInTexts(10);
  both.add(','.repeat(24_000));
  t.throws(() => both.add(','.repeat(24)), refused.body, 'two texts count together');
});
