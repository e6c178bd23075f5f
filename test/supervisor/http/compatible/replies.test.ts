import t from 'tap';
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
