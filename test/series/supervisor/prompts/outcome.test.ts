import { writeFileSync } from 'node:fs';
import t from 'tap';
import { tailsOf } from '../../../support/processes.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

t.jobs = 3;

t.test('one process answers after each kind of error', async (t) => {
  const { prompt, log } = await startWithRealCli(t);
  let session_id: string | undefined;

  await t.test('a denied tool is an answer with a warning that names it', async (t) => {
    const { status, body } = await prompt('[[tool Bash {"command":"touch /tmp/never"}]]');
    t.equal(status, 200);
    session_id = body.session_id;
    t.match(body.permission_denials, [{ tool_name: 'Bash', tool_use_id: String }]);
    t.notMatch(JSON.stringify(body.permission_denials), /never/, 'what it was to do is not told');
    t.same(body.warnings, [
      'the tool Bash was denied; to allow it, add "Bash(touch:*)" to permissions.allow in settings.json of the .claude repository, or use a profile with tools.allow',
    ]);
  });

  await t.test('a refusal of the API is an error with a code and a remedy', async (t) => {
    const cases = [
      [
        '401',
        401,
        503,
        'login_required',
        false,
        /valid API key into the Secret, as ANTHROPIC_API_KEY/,
      ],
      [
        '403',
        403,
        502,
        'permission_denied',
        false,
        /request access from the owner of the organisation/,
      ],
      ['402', 402, 503, 'billing_required', false, /billing/],
      ['400 say Your credit balance is too low', 400, 503, 'billing_required', false, /billing/],
      ['404', 404, 422, 'model_not_found', false, /name another model$/],
      ['529', 529, 503, 'overloaded', true, /try again later$/],
      ['500', 500, 502, 'model_unavailable', true, /try again later$/],
      ['400', 400, 502, 'turn_failed', false, /change the prompt or the model$/],
      [
        '400 say prompt is too long: 9 tokens > 8 maximum',
        400,
        413,
        'prompt_too_large',
        false,
        /shorten/,
      ],
    ] as const;
    for (const [directive, api, status, code, retryable, detail] of cases) {
      const answer = await prompt(`[[status ${directive}]]`, session_id ? { session_id } : {});
      t.match(
        answer,
        {
          status,
          body: {
            ...{ code, retryable, detail, api_status: api, status, session_id: String },
            ...{ usage: { input_tokens: Number }, cost_usd: Number },
          },
        },
        directive,
      );
      session_id = answer.body.session_id;
    }
    t.match(await prompt('[[say well again]]', { session_id }), {
      status: 200,
      body: { result: 'well again' },
    });
    const limited = await prompt('[[status 429]]', { session_id });
    t.match(limited, { status: 429, body: { code: 'rate_limited', retryable: true, session_id } });
    t.equal(log.count('worker_recycled'), 0, 'it was always the same process');
  });
});

t.test('a wrong API key is reported within seconds, with a remedy for the key', async (t) => {
  const { prompt, surroundings } = await startWithRealCli(t, {
    environment: { CLAUDE_CODE_MAX_RETRIES: '10' },
  });
  const { status, body } = await prompt('[[status 401]]');
  t.equal(status, 503);
  t.match(body, { code: 'login_required', detail: /refuses the login.*as ANTHROPIC_API_KEY/ });
  t.equal(surroundings.api.requests.filter(({ method }) => method === 'POST').length, 3);
  const { session_id } = body;
  t.match(await prompt('[[say well]]', { session_id }), { status: 200, body: { result: 'well' } });
});

t.test('the error names a failing apiKeyHelper and quotes its output', async (t) => {
  const { prompt } = await startWithRealCli(t, {
    environment: { ANTHROPIC_API_KEY: undefined },
    config: {
      'settings.json': JSON.stringify({ apiKeyHelper: 'echo vault is sealed >&2; exit 3' }),
    },
  });
  const { body } = await prompt('[[status 401]]');
  t.equal(body.code, 'login_required');
  t.match(body.detail, /apiKeyHelper of settings\.json \(.*exited 3: vault is sealed\)/);
});

t.test('an apiKeyHelper that hangs is named in time, and its worker does not stay', async (t) => {
  const { prompt, log, surroundings } = await startWithRealCli(t, {
    environment: { ANTHROPIC_API_KEY: undefined },
    settings: { BERTH_HANG_TIMEOUT: '4s' },
    config: { 'settings.json': JSON.stringify({ apiKeyHelper: 'tail -f "/dev/null"' }) },
  });
  const { status, body } = await prompt('hello');
  t.match({ status, ...body }, { status: 503, code: 'login_unavailable', retryable: true });
  t.match(body.detail, /the apiKeyHelper of settings\.json \(tail -f "\/dev\/null"\) has printed/);
  t.equal(log.count('turn_carried_on'), 0);
  t.match(await log.logged('worker_recycled'), { reason: 'unresponsive' });
  await until('the helper has ended', () => tailsOf(surroundings.config).length === 0);
});

t.test('without a login at first', async (t) => {
  const { prompt, call, log, surroundings } = await startWithRealCli(t, {
    environment: { ANTHROPIC_API_KEY: undefined },
  });
  let session_id: string | undefined;

  await t.test('without any login, every prompt fails with login_required', async (t) => {
    const refused = await prompt('hello');
    t.match(refused, {
      status: 503,
      body: { code: 'login_required', retryable: false, detail: /log in again/ },
    });
    const { body } = await call('GET', '/v1/status');
    t.match(body.credentials, { source: 'none', state: 'missing', expires_at: null });
    session_id = refused.body.session_id;
  });

  await t.test('a login that comes later is used by the process that was there', async (t) => {
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
    const answer = await prompt('[[say welcome]]', { session_id });
    t.match(answer, { status: 200, body: { result: 'welcome' } });
    t.equal(log.count('worker_recycled'), 0);
    t.notMatch(log.text, 'of-the-tests');
  });
});
