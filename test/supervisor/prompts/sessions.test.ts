import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { bashAllowed } from '../../support/claude.ts';
import { promptText } from '../../support/messages-api.ts';
import { tailsOf } from '../../support/processes.ts';
import { startSupervisor } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

t.jobs = 3;

t.test('a session goes on with the context that it had', async (t) => {
  const { prompt, surroundings } = await startSupervisor(t);
  const first = await prompt('[[say one]]');
  t.match(first, { status: 200, body: { result: 'one', is_error: false, recycled: 0 } });
  const second = await prompt('[[say two]]', { session_id: first.body.session_id });
  t.match(second, { status: 200, body: { result: 'two', session_id: first.body.session_id } });
  const messages = JSON.stringify(surroundings.api.requests.at(-1)?.body?.messages);
  t.match(messages, /\[\[say one\]\]/);
});

t.test("another token's session does not exist for it, and is not touched", async (t) => {
  const { prompt, surroundings } = await startSupervisor(t);
  const { body } = await prompt('[[say mine]]');
  const before = surroundings.api.requests.length;
  const other = { token: 'a-token-of-somebody-else' };
  const refused = await prompt('[[say yours]]', { session_id: body.session_id }, other);
  t.match(refused, { status: 404, body: { code: 'session_not_found', retryable: false } });
  const unknown = await prompt('hi', { session_id: '6f1c3b0e-6b0f-4b57-8d28-5d3c1f0f7a11' }, other);
  t.equal(
    refused.body.detail.replace(body.session_id, ''),
    unknown.body.detail.replace('6f1c3b0e-6b0f-4b57-8d28-5d3c1f0f7a11', ''),
    'it cannot be told from one that was never there',
  );
  t.equal(surroundings.api.requests.length, before);
  t.match(await prompt('[[say mine]]', { session_id: body.session_id }), { status: 200 });
});

t.test('a turn whose time is up is interrupted, and its session goes on', async (t) => {
  const { prompt, surroundings, call } = await startSupervisor(t, {
    config: { 'settings.json': bashAllowed },
    settings: { BERTH_MAX_WORKERS: '1' },
  });
  const { body } = await prompt('[[say one]]');
  const tool = '[[tool Bash {"command":"tail -f /dev/null"}]]';
  const late = await prompt(tool, { session_id: body.session_id, timeout: '1500ms' });
  t.match(late, {
    status: 504,
    body: {
      code: 'prompt_timeout',
      retryable: false,
      session_id: body.session_id,
      detail:
        /within 1.5s: the time limit is reached; set a longer "timeout", or raise BERTH_PROMPT/,
    },
  });
  await until('what it ran has ended', () => tailsOf(surroundings.config).length === 0);
  await until('its worker is idle', async () => {
    const { workers } = (await call('GET', '/v1/status')).body;
    t.match(workers, [{ name: 'worker-1' }], 'the process has not');
    return workers[0]?.state === 'idle';
  });
  const again = await prompt('[[say alive]]', { session_id: body.session_id });
  t.match(again, { status: 200, body: { result: 'alive' } });
});

t.test('the time that a prompt waits for a worker counts too', async (t) => {
  const { prompt, stream, surroundings } = await startSupervisor(t, {
    settings: { BERTH_MAX_WORKERS: '1' },
  });
  const leave = new AbortController();
  const hanging = stream('[[hang stream]]', {}, leave.signal);
  await hanging.next();
  await surroundings.api.waitForRequest((request) => promptText(request) === '[[hang stream]]');
  const late = await prompt('[[say never]]', { timeout: '300ms' });
  t.match(late, { status: 504, body: { code: 'prompt_timeout' } });
  t.equal(late.body.session_id, undefined, 'it never got one');
  leave.abort();
});

t.test('a session outlives the supervisor and is resumed by the next one', async (t) => {
  const one = await startSupervisor(t);
  const { body } = await one.prompt('[[say the green door]]');
  await one.supervisor.stop();
  const two = await startSupervisor(t, { surroundings: one.surroundings });
  const again = await two.prompt('[[say back]]', { session_id: body.session_id });
  t.match(again, { status: 200, body: { result: 'back', session_id: body.session_id } });
  const messages = JSON.stringify(one.surroundings.api.requests.at(-1)?.body?.messages);
  t.match(messages, /the green door/);
  const other = { token: 'a-token-of-somebody-else' };
  const refused = await two.prompt('hi', { session_id: body.session_id }, other);
  t.equal(refused.status, 404, 'it still belongs to its token');
});

t.test('a session with a missing transcript is not found', async (t) => {
  const one = await startSupervisor(t);
  const { body } = await one.prompt('[[say one]]');
  await one.supervisor.stop();
  rmSync(join(one.surroundings.config, 'projects'), { recursive: true });
  const two = await startSupervisor(t, { surroundings: one.surroundings });
  t.match(await two.prompt('hi', { session_id: body.session_id }), {
    status: 404,
    body: { code: 'session_not_found', detail: /its transcript is not on the volume any more/ },
  });
});

t.test('an answer is not lost because its session cannot be recorded', async (t) => {
  const { prompt, surroundings, log } = await startSupervisor(t);
  const path = join(surroundings.config, '.berth', 'sessions');
  // Also root cannot make a directory where a file is.
  writeFileSync(path, 'in the way');
  const { status, body } = await prompt('[[say paid for]]');
  t.equal(status, 200);
  t.equal(body.result, 'paid for');
  t.match(body.warnings, [
    /the session could not be recorded and may not be continued; see the log/,
  ]);
  await log.logged('session_unrecorded', ({ level }) => level === 'error');
  rmSync(path);
});

t.test('each turn is counted, also of prompts that wait for one another', async (t) => {
  const { prompt, surroundings } = await startSupervisor(t);
  const { body } = await prompt('[[say one]]');
  const rest = { session_id: body.session_id };
  await Promise.all(['two', 'three', 'four'].map((text) => prompt(`[[say ${text}]]`, rest)));
  const record = () => {
    const path = join(surroundings.config, '.berth', 'sessions', `${body.session_id}.json`);
    return JSON.parse(readFileSync(path, 'utf8'));
  };
  await until('all are counted', () => record().turns === 4);
  t.match(record(), { version: 2, id: body.session_id, token: 'tests' });
  t.ok(record().cost_usd > body.cost_usd);
});

t.test('prompts and answers are never in the log', async (t) => {
  const { prompt, log } = await startSupervisor(t);
  await prompt('A prompt about Rosebud [[say Rosebud was the sledge]]');
  await prompt('Rosebud again [[status 500]]');
  await until('both are logged', () => log.count('turn_finished') === 2);
  t.notMatch(log.text, /Rosebud/);
  t.match(log.text, /"event":"turn_finished".*"duration_ms"/);
});
