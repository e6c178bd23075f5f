import { PassThrough } from 'node:stream';
import t from 'tap';
import {
  bodyOfForm,
  type FieldReading,
  readMultipart,
} from '../../../supervisor/http/multipart.ts';

const type = 'multipart/form-data; boundary=XX';
const mib = 1024 * 1024;

/** The body of a request, in one piece. */
function request(body: string, headers: Record<string, string> = { 'content-type': type }) {
  const stream = Object.assign(new PassThrough(), { headers });
  stream.end(body);
  return stream as never;
}

const part = (head: string, content: string): string =>
  `--XX\r\nContent-Disposition: form-data; ${head}\r\n\r\n${content}\r\n`;
const end = '--XX--\r\n';

const reading: FieldReading = {
  isText: (field) => field === 'prompt',
  beforeParsing: () => {},
};

t.test('fields keep their sequence, and files become attachments', async (t) => {
  const file = `--XX\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nhello\r\n`;
  const form = await readMultipart(
    request(part('name="prompt"', 'Hi') + file + part('name="stream"', 'true') + end),
    mib,
  );
  t.same(form.fields, [
    ['prompt', 'Hi'],
    ['stream', 'true'],
  ]);
  t.same(form.files, [{ name: 'a.txt', media_type: 'text/plain', data: 'aGVsbG8=' }]);
});

t.test('a body that ends early, or whose parts cannot be read, is refused', async (t) => {
  const code = 'invalid_request';
  await t.rejects(readMultipart(request(part('name="prompt"', 'Hi')), mib), { code });
  await t.rejects(readMultipart(request('', { 'content-type': 'multipart/form-data' }), mib), {
    code,
  });
  const many = part('name="a"', 'b').repeat(65) + end;
  await t.rejects(readMultipart(request(many), mib), { code, message: /too many parts/ });
  const long = part(`name="${'n'.repeat(200)}"`, 'b') + end;
  await t.rejects(readMultipart(request(long), mib), { code, message: /name of a part/ });
  const nameless = part('x="y"', 'b') + end;
  await t.rejects(readMultipart(request(nameless), mib), { code, message: /has no name/ });
});

t.test('a body above its limit is refused', async (t) => {
  const large = part('name="prompt"', 'x'.repeat(2_000)) + end;
  await t.rejects(readMultipart(request(large), 1_000), { code: 'payload_too_large' });
});

t.test('the body of a form has texts, JSON values and attachments', async (t) => {
  const file = { name: 'a', media_type: 'text/plain', data: '' };
  const body = bodyOfForm(
    {
      fields: [
        ['prompt', '{"not": "parsed"}'],
        ['allowed_tools', '["Read"]'],
        ['model', 'no JSON'],
        ['request', '{"attachments":[{"name":"b"}],"max_turns":2}'],
      ],
      files: [file],
    },
    reading,
  );
  t.same(body, {
    prompt: '{"not": "parsed"}',
    allowed_tools: ['Read'],
    model: 'no JSON',
    max_turns: 2,
    attachments: [{ name: 'b' }, file],
  });
});

t.test('a field that is there twice, and a request that is no object, are refused', async (t) => {
  const fields = (list: [string, string][]) => () =>
    bodyOfForm({ fields: list, files: [] }, reading);
  const twice: [string, string][] = [
    ['prompt', 'one'],
    ['request', '{"prompt":"two"}'],
  ];
  t.throws(fields(twice), { code: 'invalid_request', message: /"prompt" is there twice/ });
  for (const value of ['[]', 'null', '{']) {
    t.throws(fields([['request', value]]), { code: 'invalid_request' });
  }
  const own = bodyOfForm({ fields: [['__proto__', '{"a":1}']], files: [] }, reading);
  t.equal(Object.getPrototypeOf(own), Object.prototype, 'no field reaches the prototype');
});

t.test('each text is shown to the check before it is parsed', async (t) => {
  const seen: string[] = [];
  const beforeParsing = (text: string): void => void seen.push(text);
  const fields: [string, string][] = [
    ['prompt', 'text'],
    ['max_turns', '3'],
    ['request', '{}'],
  ];
  bodyOfForm({ fields, files: [] }, { ...reading, beforeParsing });
  t.same(seen, ['3', '{}']);
});
