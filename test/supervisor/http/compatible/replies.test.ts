import t from 'tap';
import type { Prompt } from '../../../../supervisor/prompts/prompt.ts';
import { answerOf, startApiServer, token } from '../../../support/api-server.ts';

const report = { at: '2026-11-29T10:00:00.000Z', result: 'the tests have failed', is_error: true };
const workspace = { repo: 'your-name/your-repository', branch: 'berth/fix' } as never;
const approvals = [{ id: 'a-1' }] as never;

const messages = [{ role: 'user', content: 'x' }];
const bodies: Record<string, object> = {
  '/v1/messages': { max_tokens: 9, messages },
  '/v1/chat/completions': { messages },
  '/v1/responses': { input: 'x' },
};

for (const [path, body] of Object.entries(bodies)) {
  t.test(`${path} has reports of background work, whole and as a stream`, async (t) => {
    const more = { background: [report], workspace, approvals };
    const { url } = await startApiServer(t, {
      run: async () => ({ ...answerOf('fine'), ...more }),
    });
    const send = async (stream: boolean): Promise<string> => {
      const response = await fetch(url + path, {
        method: 'POST',
        headers: { 'x-api-key': token, 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'berth', stream, ...body }),
      });
      return response.text();
    };
    t.match(JSON.parse(await send(false)).berth, more);
    const streamed = (await send(true)).split('\n').filter((line) => line.includes('"berth":'));
    t.equal(streamed.length, 1, 'one event of the stream has them');
    t.match(streamed[0], JSON.stringify(more).slice(1, -1));
  });
}

t.test('an unknown history with many files is answered, with the newest of them', async (t) => {
  const prompts: Prompt[] = [];
  const { url } = await startApiServer(t, {
    maxAttachmentBytes: 1_000,
    run: async (prompt) => {
      prompts.push(prompt);
      return answerOf('fine');
    },
  });
  const source = { type: 'base64', media_type: 'text/csv', data: 'YSxi' };
  const turns = Array.from({ length: 21 }, (_, turn) => [
    {
      role: 'user',
      content: [
        { type: 'text', text: 'x' },
        { type: 'document', title: `${turn}.csv`, source },
      ],
    },
    { role: 'assistant', content: 'y' },
  ]);
  const response = await fetch(`${url}/v1/messages`, {
    method: 'POST',
    headers: { 'x-api-key': token, 'content-type': 'application/json' },
    body: JSON.stringify({
      ...{ model: 'berth', max_tokens: 9 },
      messages: [...turns.flat(), { role: 'user', content: 'and now?' }],
    }),
  });
  t.equal(response.status, 200, await response.text());
  const [{ attachments = [], text } = {} as Prompt] = prompts;
  t.equal(attachments.length, 20);
  t.match([attachments[0], attachments.at(-1)], [{ name: '1.csv' }, { name: '20.csv' }]);
  const [, record = ''] = /<conversation>\n(.*)\n<\/conversation>/.exec(text) ?? [];
  const [first, , second] = JSON.parse(record);
  t.strictSame(first, { role: 'user', content: 'x', files_left_out: ['0.csv'] });
  t.strictSame(second, { role: 'user', content: 'x', files: ['1.csv'] });
});
