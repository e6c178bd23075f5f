import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { TokenFile } from '../../../supervisor/http/token-file.ts';
import { tokenLine } from '../../../supervisor/http/tokens.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { promptText } from '../../support/messages-api.ts';
import { streamPrompt } from '../../support/prompt.ts';
import { collect, upTo } from '../../support/read-events.ts';
import { type RunningSupervisor, startSupervisor } from '../../support/supervisor.ts';

t.jobs = 2;

const old = 'a-token-that-is-rotated-away';
const fresh = 'a-token-that-takes-its-place';
const home = 'a-token-of-somebody-at-home';

/** A supervisor whose tokens are in a file, as lines; `write` replaces them. */
async function start(t: Test, lines: string[], settings: Record<string, string> = {}) {
  const path = join(testDirectory(t, { tokens: lines.join('\n') }), 'tokens');
  const tokens = await TokenFile.open(path, captureLog().log, 20);
  t.teardown(() => tokens.close());
  const running = await startSupervisor(t, { tokens, settings });
  return { ...running, write: (next: string[]) => writeFileSync(path, next.join('\n')) };
}

const stream = ({ url }: { url: string }, token: string, prompt: string) =>
  streamPrompt({ url, token }, { prompt });

async function hanging({ surroundings }: Pick<RunningSupervisor, 'surroundings'>, text: string) {
  await surroundings.api.waitForRequest((request) => promptText(request) === text);
}

t.test("a revoked token's turns end, also those that wait; another's do not", async (t) => {
  const lines = [tokenLine('n8n', old), tokenLine('home', home)];
  const running = await start(t, lines);
  const mine = '[[hang stream]] mine';
  const theirs = '[[slow 400]] [[say still here]] theirs';
  const ended = collect(stream(running, old, mine));
  const kept = collect(stream(running, home, theirs));
  await Promise.all([hanging(running, mine), hanging(running, theirs)]);
  const waiting = running.call('POST', '/v1/prompts', { token: old, body: { prompt: 'x' } });
  const place = stream(running, old, 'y');
  await upTo(place, 'queued');
  running.write([tokenLine('home', home)]);
  t.match((await ended).at(-1), {
    event: 'error',
    data: { code: 'token_revoked', status: 401, retryable: false, session_id: String },
  });
  t.match(await upTo(place, 'error'), { data: { code: 'token_revoked' } });
  t.match(await waiting, { status: 401, body: { code: 'token_revoked', detail: /of n8n/ } });
  t.match((await kept).at(-1), { event: 'result', data: { result: 'still here' } });
  const again = await running.call('GET', '/v1/status', { token: old });
  t.match(again, { status: 401, body: { code: 'unauthorized' } });
  for (const token of [old, home]) t.notMatch(running.log.text, token);
});

t.test(
  'if one of two tokens with the same name is removed, only the turns of that token end',
  async (t) => {
    const lines = [tokenLine('n8n', old), tokenLine('n8n', fresh)];
    const running = await start(t, lines);
    const before = '[[hang stream]] old';
    const after = '[[slow 400]] [[say goes on]] fresh';
    const ended = collect(stream(running, old, before));
    const kept = collect(stream(running, fresh, after));
    await Promise.all([hanging(running, before), hanging(running, after)]);
    running.write([tokenLine('n8n', fresh)]);
    const last = (await ended).at(-1);
    t.match(last, { event: 'error', data: { code: 'token_revoked' } });
    t.match((await kept).at(-1), { event: 'result', data: { result: 'goes on' } });
    const { session_id } = last?.data ?? {};
    const on = { token: fresh, body: { prompt: '[[say mine still]]', session_id } };
    t.match(
      await running.call('POST', '/v1/prompts', on),
      { status: 200 },
      "sessions are the name's",
    );
  },
);

t.test('renaming a token or removing the last token also ends its turns', async (t) => {
  const running = await start(t, [tokenLine('n8n', old), tokenLine('home', home)]);
  const mine = '[[hang stream]] renamed';
  const ended = collect(stream(running, old, mine));
  await hanging(running, mine);
  running.write([tokenLine('other', old), tokenLine('home', home)]);
  t.match((await ended).at(-1), { event: 'error', data: { code: 'token_revoked' } });
  const last = '[[hang stream]] last';
  const gone = collect(stream(running, home, last));
  await hanging(running, last);
  running.write(['# nobody']);
  t.match((await gone).at(-1), { event: 'error', data: { code: 'token_revoked' } });
});
