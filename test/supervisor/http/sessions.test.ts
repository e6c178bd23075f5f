import { existsSync, globSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { bashAllowed, makeSurroundings } from '../../support/claude.ts';
import { tailsOf } from '../../support/processes.ts';
import { startSupervisor, startWithRealCli } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

t.jobs = 3;

const somebody = { token: 'a-token-of-somebody-else' };

/** Surroundings whose TMPDIR nobody else writes to. */
async function ownSurroundings(t: Test, config: Record<string, string> = {}) {
  const surroundings = await makeSurroundings(t, config);
  surroundings.inherited.TMPDIR = join(surroundings.workspace, '..', 'home');
  return surroundings;
}

t.test('a token lists its sessions in pages, the last used session first', async (t) => {
  const { prompt, call } = await startSupervisor(t);
  const ids: string[] = [];
  for (const text of ['one', 'two', 'three']) {
    ids.unshift((await prompt(`[[say ${text}]]`)).body.session_id);
  }
  await prompt('[[say theirs]]', {}, somebody);
  const { body } = await call('GET', '/v1/sessions');
  t.strictSame(
    body.sessions.map(({ id }: { id: string }) => id),
    ids,
  );
  t.equal(body.next, null);
  t.match(body.sessions[0], { profile: 'default', turns: 1, state: 'idle', forked_from: null });
  const first = await call('GET', '/v1/sessions?limit=2');
  t.equal(first.body.sessions.length, 2);
  const second = await call('GET', `/v1/sessions?limit=2&cursor=${first.body.next}`);
  t.match(second.body, { sessions: [{ id: ids[2] }], next: null });
  t.equal(second.body.sessions.length, 1);
  t.same((await call('GET', '/v1/sessions?profile=other')).body.sessions, []);
  for (const query of ['limit=0', 'limit=1000', 'cursor=x', 'more=1']) {
    t.match(await call('GET', `/v1/sessions?${query}`), {
      status: 400,
      body: { code: 'invalid_request' },
    });
  }
});

t.test('a session shows its usage and its working directory', async (t) => {
  const { prompt, call, surroundings } = await startSupervisor(t);
  const { body } = await prompt('[[say one]]');
  const id = body.session_id;
  const again = await prompt('[[say two]]', { session_id: id });
  const shown = await call('GET', `/v1/sessions/${id.toUpperCase()}`);
  t.match(shown, {
    status: 200,
    body: {
      id,
      turns: 2,
      state: 'idle',
      usage: { output_tokens: body.usage.output_tokens + again.body.usage.output_tokens },
      working_directory: { path: surroundings.workspace, mode: 'shared' },
    },
  });
  t.ok(Math.abs(shown.body.cost_usd - body.cost_usd - again.body.cost_usd) < 1e-9);
  t.ok(shown.body.transcript_bytes > 1_000);
});

t.test('each request about the session of another token is answered with 404', async (t) => {
  const { prompt, call } = await startSupervisor(t);
  const { session_id } = (await prompt('[[say mine]]')).body;
  const path = `/v1/sessions/${session_id}`;
  for (const [method, url] of [
    ['GET', path],
    ['DELETE', path],
    ['POST', `${path}/interrupt`],
  ] as const) {
    const refused = await call(method, url, somebody);
    t.match(refused, { status: 404, body: { code: 'session_not_found' } }, `${method} ${url}`);
  }
  t.equal((await call('GET', path)).status, 200);
  t.equal((await call('GET', '/v1/sessions/nonsense')).status, 400);
});

t.test('an interrupted turn is reported as interrupted, and its session continues', async (t) => {
  const { prompt, stream, call } = await startSupervisor(t);
  const { session_id } = (await prompt('[[say one]]')).body;
  const path = `/v1/sessions/${session_id}`;
  const nothing = await call('POST', `${path}/interrupt`);
  t.match(nothing, { status: 200, body: { interrupted: false } });
  const events = stream('[[hang stream]]', { session_id });
  await events.next();
  await events.next();
  t.equal((await call('GET', path)).body.state, 'busy');
  t.match(await call('POST', `${path}/interrupt`), { status: 200, body: { interrupted: true } });
  let last: unknown;
  for await (const event of events) last = event;
  t.match(last, { event: 'error', data: { code: 'interrupted', session_id } });
  const next = await prompt('[[say on]]', { session_id });
  t.match(next, { status: 200, body: { result: 'on', session_id } });
});

t.test('a session that is deleted leaves nothing behind', async (t) => {
  const surroundings = await ownSurroundings(t, { 'settings.json': bashAllowed });
  const { prompt, call } = await startWithRealCli(t, {
    surroundings,
    settings: { BERTH_WORKING_DIRECTORY: 'session' },
  });
  const large = `head -c 200000 /dev/zero | tr '\\\\0' a; mkdir shut; touch shut/x; chmod 500 shut`;
  const first = await prompt(`[[tool Bash {"command":"${large}"}]]`);
  const id = first.body.session_id;
  await prompt(
    '[[tool Agent {"description":"d","prompt":"one","subagent_type":"general-purpose"}]]',
    { session_id: id },
  );
  await prompt('[[tool Bash {"command":"sleep 300","run_in_background":true}]]', {
    session_id: id,
  });
  const { body } = await call('GET', `/v1/sessions/${id}`);
  const directory: string = body.working_directory.path;
  t.match(directory, /\/workspace\/sessions\/[0-9a-f]{24}$/);
  t.ok(existsSync(join(directory, 'shut/x')));
  const traces = () =>
    globSync('**/*', { cwd: join(surroundings.config, '..'), withFileTypes: false }).filter(
      (path) => path.includes(id) || path.includes(directory.slice(-24)),
    );
  t.ok(traces().length > 8);
  t.equal((await call('DELETE', `/v1/sessions/${id}`)).status, 204);
  t.strictSame(traces(), []);
  t.strictSame(readdirSync(join(surroundings.config, '.berth/sessions')), []);
  t.match(await call('DELETE', `/v1/sessions/${id}`), {
    status: 404,
    body: { code: 'session_not_found' },
  });
  t.equal((await prompt('hi', { session_id: id })).status, 404);
  t.match((await call('GET', '/v1/status')).body, { sessions: 0, workers: [] });
});

t.test('deleting a session interrupts its turn and answers the waiting prompts', async (t) => {
  const { prompt, stream, call, surroundings, log } = await startSupervisor(t, {
    config: { 'settings.json': bashAllowed },
  });
  const { session_id } = (await prompt('[[say one]]')).body;
  const events = stream('[[tool Bash {"command":"tail -f /dev/null"}]]', { session_id });
  const seen: unknown[] = [];
  const streamed = (async () => {
    for await (const event of events) seen.push(event);
  })();
  await until('the tool runs', () => tailsOf(surroundings.config).length > 0);
  const waiting = prompt('[[say never]]', { session_id });
  await until('it waits', async () => (await call('GET', '/v1/status')).body.queue.length === 1);
  t.equal((await call('DELETE', `/v1/sessions/${session_id}`)).status, 204);
  t.match(await waiting, { body: { code: 'interrupted', detail: /its session .* was removed/ } });
  await streamed;
  t.match(seen.at(-1), { event: 'error', data: { code: 'interrupted' } });
  t.strictSame(tailsOf(surroundings.config), []);
  await log.logged('session_removed', ({ reason }) => reason === 'asked');
  t.strictSame(globSync(`**/*${session_id}*`, { cwd: surroundings.config }), []);
});
