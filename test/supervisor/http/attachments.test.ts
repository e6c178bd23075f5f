/** Attachments over HTTP, as JSON and as forms, with the scripted CLI. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { token as apiToken, startApiServer } from '../../support/api-server.ts';
import { startSupervisor, token } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

const png = Buffer.from('89504e470d0a1a0a0000000d', 'hex');
const picture = { name: 'x.png', data: png.toString('base64') };

function form(parts: Record<string, string | File>): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(parts)) data.append(name, value);
  return data;
}

t.test('a multipart form from the n8n HTTP Request node carries fields and files', async (t) => {
  const { url, surroundings, call, log } = await startSupervisor(t);
  const post = async (path: string, body: FormData) => {
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(`${url}${path}`, { method: 'POST', headers, body });
    return { status: response.status, body: (await response.json()) as { id?: string } };
  };
  const first = await post(
    '/v1/prompts',
    form({
      prompt: '[[say seen]]',
      metadata: '{"run":"7"}',
      data: new File([png], '../../x.png', { type: 'image/png' }),
      more: new File(['a,b\n'], 'data.csv', { type: 'text/csv' }),
    }),
  );
  t.match(first, { status: 200, body: { result: 'seen', metadata: { run: '7' } } });
  const { messages = [] } = surroundings.api.requests.at(-1)?.body ?? {};
  t.match((messages.at(-1) as { content?: unknown }).content, [
    { type: 'image', source: { media_type: 'image/png', data: picture.data } },
    { type: 'text', text: /attachments\/data.csv \(text\/csv, 4 bytes\)/ },
  ]);
  t.ok(existsSync(join(surroundings.workspace, 'attachments/data.csv')));

  const accepted = await post(
    '/v1/jobs',
    form({ request: '{"prompt":"[[say job]]"}', f: new File([png], 'p') }),
  );
  t.equal(accepted.status, 202);
  const job = await call('GET', `/v1/jobs/${accepted.body.id}?wait=60s`);
  t.match(job.body, { state: 'succeeded', result: { result: 'job' } });
  t.match(JSON.stringify(surroundings.api.requests.at(-1)?.body), /"image\/png"/);
  const kept = join(surroundings.config, '.berth/attachments');
  await until('the files of the ended job are gone', () => readdirSync(kept).length === 0);
  t.notMatch(JSON.stringify(log.lines), /data\.csv|iVBO/, 'nothing of a file is in the log');

  const wrong = { name: 'a.pdf', media_type: 'application/pdf', data: picture.data };
  const refused = await call('POST', '/v1/jobs', { body: { prompt: 'x', attachments: [wrong] } });
  t.match(refused, { status: 400, body: { code: 'invalid_request', field: 'attachments.0' } });
  const many = await call('POST', '/v1/prompts', {
    body: { prompt: 'x', attachments: Array.from({ length: 300 }, () => picture) },
  });
  t.match(many, { status: 400, body: { detail: /there are 300, and the limit is 20/ } });
});

t.test('bad forms and bad files are refused with the field or the cause', async (t) => {
  const seen: number[] = [];
  const { url } = await startApiServer(t, {
    maxPromptBytes: 2_000,
    maxAttachmentBytes: 100_000,
    run: async ({ attachments = [] }) => {
      seen.push(attachments.length);
      throw new Error('not here');
    },
  });
  const send = async (
    body: string | FormData,
    headers: Record<string, string> = {},
    path = '/v1/prompts',
  ) => {
    const authorization = `Bearer ${apiToken}`;
    const response = await fetch(`${url}${path}`, {
      ...{ method: 'POST', body, headers: { authorization, ...headers } },
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const json = (attachments: unknown, rest = {}) =>
    send(JSON.stringify({ prompt: 'x', attachments, ...rest }), {
      'content-type': 'application/json',
    });
  const both = { ...picture, text: 'x' };
  t.match(await json([both]), { status: 400, body: { field: 'attachments.0' } });
  t.match(await json([{ name: 'x' }]), { status: 400, body: { field: 'attachments.0' } });
  t.match(await json([{ data: 'iVBO*!' }]), { status: 400, body: { field: 'attachments.0.data' } });
  t.match(await json([{ data: 'iVBORw0', text: 1 }]), { status: 400 });
  t.match(await json([{ ...picture, path: '/etc/passwd' }]), { status: 400 });
  t.match(await json('x'), { status: 400 });
  const large = 'x'.repeat(3_000);
  t.match(await json([{ text: large }], { prompt: large }), {
    status: 413,
    body: { detail: /besides its attachments/ },
  });
  t.match(await json([{ text: 'y'.repeat(600_000) }]), { status: 413 });
  t.match(await send(form({ prompt: 'x', f: new File(['y'.repeat(600_000)], 'y') })), {
    status: 413,
  });
  const twice = new FormData();
  twice.append('prompt', 'x');
  twice.append('prompt', 'y');
  t.match(await send(twice), { status: 400, body: { detail: /is there twice/ } });
  t.match(await send(form({ request: '[1]' })), {
    status: 400,
    body: { detail: /not a JSON object/ },
  });
  t.match(await send(form({ nothing: '1' })), { status: 400 });
  const cut = '--b\r\ncontent-disposition: form-data; name="prompt"\r\n\r\nx';
  const type = { 'content-type': 'multipart/form-data; boundary=b' };
  t.match(await send(cut, type), { status: 400, body: { code: 'invalid_request' } });
  t.match(await send('x', { 'content-type': 'multipart/form-data' }), { status: 400 });
  t.match(await send(form({ reason: 'x' }), {}, '/v1/pause'), { status: 415 });
  t.same(seen, [], 'no prompt has run');
  t.match(await send(form({ prompt: 'x', max_turns: 'three' })), {
    status: 400,
    body: { detail: /max_turns/ },
  });
});
