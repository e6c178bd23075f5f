import { writeFileSync } from 'node:fs';
import t from 'tap';
import type { TurnResult } from '../../../supervisor/claude/protocol.ts';
import { failureOf, warningsOf } from '../../../supervisor/sessions/outcome.ts';
import { startSupervisor } from '../../support/supervisor.ts';

t.jobs = 3;

t.test('what the API refuses is an error with a code and a remedy', async (t) => {
  const { prompt, log } = await startSupervisor(t);
  const cases = [
    [401, 503, 'login_required', false, /log in again: .*setup-token.* into the Secret$/],
    [403, 503, 'login_required', false, /log in again/],
    [429, 429, 'usage_limit', true, /try again later$/],
    [529, 502, 'model_unavailable', true, /try again later$/],
    [500, 502, 'model_unavailable', true, /try again later$/],
    [400, 502, 'turn_failed', false, /change the prompt or the model$/],
  ] as const;
  let session_id: string | undefined;
  for (const [api, status, code, retryable, detail] of cases) {
    const answer = await prompt(`[[status ${api}]]`, session_id ? { session_id } : {});
    t.match(
      answer,
      { status, body: { code, retryable, detail, api_status: api, status, session_id: String } },
      `${api}`,
    );
    session_id = answer.body.session_id;
  }
  t.match(await prompt('[[say well again]]', { session_id }), {
    status: 200,
    body: { result: 'well again' },
  });
  t.equal(log.count('worker_recycled'), 0, 'it was always the same process');
});

t.test('without any login every prompt says so', async (t) => {
  const { prompt, call } = await startSupervisor(t, {
    environment: { ANTHROPIC_API_KEY: undefined },
  });
  t.match(await prompt('hello'), {
    status: 503,
    body: { code: 'login_required', retryable: false, detail: /log in again/ },
  });
  const { body } = await call('GET', '/v1/status');
  t.match(body.credentials, { source: 'none', state: 'missing', expires_at: null });
});

t.test('a login that comes later is used by the process that was there', async (t) => {
  const { prompt, log, surroundings } = await startSupervisor(t, {
    environment: { ANTHROPIC_API_KEY: undefined },
  });
  const { body } = await prompt('hello');
  t.equal(body.code, 'login_required');
  const hour = 3_600_000;
  writeFileSync(
    `${surroundings.config}/.credentials.json`,
    JSON.stringify({
      claudeAiOauth: {
        accessToken: 'sk-ant-oat01-of-the-tests',
        refreshToken: 'sk-ant-ort01-of-the-tests',
        expiresAt: Date.now() + 8 * hour,
        scopes: ['user:inference', 'user:profile'],
        subscriptionType: 'max',
      },
    }),
  );
  await log.logged('credentials_seen', ({ state }) => state === 'valid');
  const answer = await prompt('[[say welcome]]', { session_id: body.session_id });
  t.match(answer, { status: 200, body: { result: 'welcome' } });
  t.equal(log.count('worker_recycled'), 0);
  t.notMatch(log.text, 'of-the-tests');
});

t.test('a denied tool is an answer with a warning that names it', async (t) => {
  const { prompt } = await startSupervisor(t);
  const { status, body } = await prompt('[[tool Bash {"command":"touch /tmp/never"}]]');
  t.equal(status, 200);
  t.match(body.permission_denials, [{ tool_name: 'Bash', tool_use_id: String }]);
  t.same(body.warnings, [
    'the tool Bash was denied; to allow it, add it to permissions.allow in settings.json of the .claude repository',
  ]);
});

t.test('a tool that was denied often is named once', (t) => {
  const denial = (tool_name: string) => ({ tool_name, tool_use_id: 't' });
  const warnings = warningsOf([denial('Bash'), denial('Write'), denial('Bash')]);
  t.match(warnings, [/ Bash /, / Write /]);
  t.equal(warnings.length, 2);
  t.end();
});

t.test(
  'what the CLI calls a billing error is a usage limit, a limit of the turn an answer',
  (t) => {
    const failed = { isError: true, terminalReason: 'api_error', result: 'x', sessionId: 's' };
    t.match(failureOf(failed as TurnResult, 'billing_error'), { code: 'usage_limit' });
    t.match(failureOf(failed as TurnResult, undefined), { code: 'model_unavailable' });
    const limited = { ...failed, terminalReason: 'max_turns' } as TurnResult;
    t.equal(failureOf(limited, undefined), undefined);
    t.equal(failureOf({ ...failed, isError: false } as TurnResult, undefined), undefined);
    t.end();
  },
);
