import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { startApiServer } from '../../../support/api-server.ts';
import { testDirectory } from '../../../support/directory.ts';
import { promptText } from '../../../support/messages-api.ts';
import { compiledCode } from '../../../support/programs.ts';
import { collect, upTo } from '../../../support/read-events.ts';
import { startSupervisor, token } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

t.jobs = 3;

t.test('a pause interrupts running and waiting prompts and refuses new prompts', async (t) => {
  const { stream, prompt, call, surroundings, metricsUrl, log } = await startSupervisor(t, {
    settings: { BERTH_MAX_WORKERS: '1' },
  });
  const running = collect(stream('[[hang stream]]'));
  await surroundings.api.waitForRequest((request) => promptText(request) === '[[hang stream]]');
  const waiting = stream('[[say never]]');
  await upTo(waiting, 'queued');
  const answer = await call('POST', '/v1/pause', { body: { reason: 'the bill' } });
  t.match(answer, {
    status: 200,
    body: { paused: true, by: 'tests', reason: 'the bill', durable: true },
  });
  t.match((await running).at(-1), {
    event: 'error',
    data: { code: 'paused', status: 503, retryable: true, session_id: String, retry_after: 60 },
  });
  t.match(await upTo(waiting, 'error'), { data: { code: 'paused' } });
  const refused = await prompt('[[say no]]');
  t.match(refused, { status: 503, body: { code: 'paused', detail: /tests paused .*the bill/ } });
  t.equal(refused.headers.get('retry-after'), '60');
  t.match((await call('GET', '/v1/status')).body, {
    state: 'paused',
    paused: { by: 'tests', reason: 'the bill', since: answer.body.since },
    queue: { length: 0 },
  });
  t.equal((await fetch(`${metricsUrl}/readyz`)).status, 200, 'it stays ready');
  t.match(await (await fetch(`${metricsUrl}/metrics`)).text(), /^berth_paused 1$/m);
  t.match(await call('POST', '/v1/resume'), { status: 200, body: { paused: false } });
  t.match(await prompt('[[say yes]]'), { status: 200, body: { result: 'yes' } });
  t.match(
    log.lines.filter(({ event }) => event === 'audit'),
    [
      { action: 'pause', token: 'tests', reason: 'the bill' },
      { action: 'resume', token: 'tests' },
    ],
  );
  t.notMatch(log.text, token);
});

t.test('a pause survives a restart', async (t) => {
  const first = await startSupervisor(t);
  await first.call('POST', '/v1/pause');
  await first.supervisor.stop();
  const { prompt, call, log, surroundings } = await startSupervisor(t, {
    surroundings: first.surroundings,
  });
  t.match(await prompt('[[say no]]'), { status: 503, body: { code: 'paused' } });
  t.equal(log.count('paused'), 1);
  t.match((await call('POST', '/v1/resume')).body, { paused: false, durable: true });
  t.notOk(existsSync(join(surroundings.config, '.berth', 'pause.json')));
  t.match(await prompt('[[say yes]]'), { status: 200 });
});

t.test('a token without permission is refused, and the refusal is in the audit log', async (t) => {
  const { url, log } = await startApiServer(t, { mayAdminister: (name) => name !== 'tests' });
  for (const action of ['pause', 'resume']) {
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(`${url}/v1/${action}`, { method: 'POST', headers });
    t.equal(response.status, 403);
    t.match(await response.json(), { code: 'forbidden', detail: /the token tests may not; use/ });
  }
  t.match(
    log.lines.filter(({ event }) => event === 'audit'),
    [
      { action: 'pause', token: 'tests', refused: true },
      { action: 'resume', token: 'tests', refused: true },
    ],
  );
});

const entry = join(import.meta.dirname, '../../../../dist/berth.mjs');

/** Runs `berth ...` as a person does. */
async function berth(words: string[], environment: Record<string, string>, input = '') {
  const child = spawn(process.execPath, [entry, ...words], {
    env: { PATH: process.env.PATH, ...compiledCode, ...environment },
  });
  child.stdin.end(input);
  const [output, errors, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ]);
  return { output, errors, code };
}

t.test(
  'berth pause and berth resume take the token from a file or from standard input',
  async (t) => {
    const { url, call } = await startSupervisor(t);
    const at = { BERTH_HTTP_LISTEN: `:${new URL(url).port}` };
    const file = join(testDirectory(t, {}), 'token');
    writeFileSync(file, `${token}\n`);
    const paused = await berth(['pause', '--reason', 'a look'], {
      ...at,
      BERTH_API_TOKEN_FILE: file,
    });
    t.equal(paused.code, 0, paused.errors);
    t.match(JSON.parse(paused.output), { paused: true, by: 'tests', reason: 'a look' });
    t.match((await call('GET', '/v1/status')).body, { state: 'paused' });
    const resumed = await berth(['resume'], at, `${token}\n`);
    t.equal(resumed.code, 0, resumed.errors);
    t.match((await call('GET', '/v1/status')).body, { state: 'serving' });
  },
);

t.test('berth pause and resume report their errors without the token', async (t) => {
  const { url } = await startSupervisor(t);
  const at = { BERTH_HTTP_LISTEN: `127.0.0.1:${new URL(url).port}` };
  const none = await berth(['pause'], at);
  t.match(none, { code: 64, errors: /no API token; put it into BERTH_API_TOKEN_FILE, or write/ });
  const wrong = await berth(['pause'], at, 'a-wrong-token-of-somebody\n');
  t.match(wrong, { code: 64, errors: /401 .*the token is unknown/ });
  const nobody = await berth(['resume'], { BERTH_HTTP_LISTEN: '127.0.0.1:10' }, `${token}\n`);
  t.match(nobody, {
    code: 64,
    errors: /cannot resume the server at http:\/\/127\.0\.0\.1:10\/.*refused/i,
  });
  for (const { errors, output } of [wrong, nobody]) {
    t.notMatch(errors + output, 'a-wrong-token-of-somebody');
    t.notMatch(errors + output, token);
  }
});

t.test('a pause during the last prompt harms neither the prompt nor the server', async (t) => {
  const { call, prompt } = await startSupervisor(t);
  const answers = Promise.all([prompt('[[say one]]'), prompt('[[say two]]')]);
  for (let round = 0; round < 5; round++) {
    await Promise.all([call('POST', '/v1/pause'), call('POST', '/v1/resume')]);
  }
  for (const { status, body } of await answers) {
    t.ok(status === 200 || body.code === 'paused', `${status} ${body.code}`);
  }
  await call('POST', '/v1/resume');
  await until('it serves', async () => (await prompt('[[say after]]')).status === 200);
});
