import t from 'tap';
import { scripted } from '../../support/claude.ts';
import { startSupervisor } from '../../support/supervisor.ts';

const somebody = { token: 'a-token-of-somebody-else' };

t.test("a process that claims another token's session is ended, and owns nothing", async (t) => {
  const { prompt, call, log } = await startSupervisor(t, {
    settings: { BERTH_CLAUDE_PATH: scripted('claude-that-answers') },
  });
  const { session_id } = (await prompt('hello', {}, somebody)).body;
  const before = (await call('GET', `/v1/sessions/${session_id}`, somebody)).body;
  const claiming = await prompt(`CLAIM ${session_id}`);
  t.match(claiming, { status: 502, body: { code: 'worker_lost' } });
  t.not(claiming.body.session_id, session_id);
  t.match(await log.logged('session_claimed'), { level: 'error', claimed: session_id });
  t.equal((await call('GET', `/v1/sessions/${session_id}`)).status, 404);
  t.same((await call('GET', `/v1/sessions/${session_id}`, somebody)).body, before);
  t.match(await prompt('on', { session_id }, somebody), { status: 200, body: { session_id } });
  t.match(await prompt('on', { session_id }), { status: 404 });
});

t.test('the real CLI keeps the session that berth chose, also in a fork and resumed', async (t) => {
  const running = await startSupervisor(t);
  const { session_id } = (await running.prompt('[[say one]]')).body;
  const fork = await running.prompt('[[say two]]', { session_id, fork: true });
  t.match(fork, { status: 200, body: { result: 'two' } });
  t.not(fork.body.session_id, session_id);
  await running.supervisor.stop();
  const again = await startSupervisor(t, { surroundings: running.surroundings });
  const resumed = await again.prompt('[[say three]]', { session_id: fork.body.session_id });
  t.match(resumed, { status: 200, body: { session_id: fork.body.session_id, result: 'three' } });
  t.notOk(running.log.lines.some(({ event }) => event === 'session_claimed'));
});
