/** A supervisor whose login is lost and comes back, with the real CLI and the stand-in login server. */
import { closeSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { judgeCredentials } from '../../../../shared/credentials.ts';
import { type LoggedIn, loggedIn } from '../../../support/logged-in.ts';
import type { LoginOptions } from '../../../support/login-server.ts';
import { cannotMount, mountSmall } from '../../../support/small-volume.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

t.jobs = 3;

const minute = 60_000;

async function start(
  t: Test,
  login: LoginOptions,
  settings: Record<string, string> = {},
  prepare: (surroundings: LoggedIn['surroundings']) => void = () => {},
) {
  const { surroundings, server }: LoggedIn = await loggedIn(t, login);
  prepare(surroundings);
  const path = join(surroundings.config, '.credentials.json');
  const source = join(surroundings.workspace, '..', 'source.json');
  const running = await startWithRealCli(t, {
    surroundings,
    settings: { BERTH_CREDENTIALS_SOURCE: source, ...settings },
  });
  return { ...running, server, path, source };
}

t.test('one process works on after a refresh of its login and after a torn file', async (t) => {
  const { prompt, log, metricsUrl, call, server, path } = await start(t, {
    lifetime: minute,
    refreshed: 8 * 60 * minute,
  });
  const first = await prompt('[[say hello]]');
  t.match(first, { status: 200, body: { result: 'hello' } });
  const { session_id } = first.body;

  await t.test('a refresh is logged, counted and reported with its expiry', async (t) => {
    let metrics = '';
    await until('it is counted', async () => {
      metrics = await (await fetch(`${metricsUrl}/metrics`)).text();
      return /berth_credentials_events_total\{event="refreshed"\} 1/.test(metrics);
    });
    t.equal(log.count('credentials_seen'), 2);
    const { body } = await call('GET', '/v1/status');
    t.match(body.credentials, {
      ...{ state: 'valid', source: 'file', advice: null, login_expiry_estimated: false },
      refreshed_at: String,
    });
    t.match(metrics, /berth_login_lost 0/);
    t.match(
      metrics,
      /berth_login_expiry_timestamp_seconds\{estimated="false",of="login",profile=""\} \d+/,
    );
    t.equal(server.requests.length, 1);
    const all = `${log.text} ${metrics} ${JSON.stringify(body)}`;
    t.notMatch(all, /oat01|ort01/);
  });

  await t.test('a torn file heals by itself, and the process goes on with it', async (t) => {
    writeFileSync(path, '{"claudeAiOauth":');
    await log.logged('credentials_put_back');
    t.match(await prompt('[[say two]]', { session_id }), { status: 200, body: { result: 'two' } });
  });
});

t.test(
  'a refused login fails all waiting prompts at once, until a new login arrives',
  async (t) => {
    const { prompt, log, server, path, source, surroundings, call } = await start(
      t,
      { lifetime: 2_000, refreshed: 60 * minute },
      { BERTH_MAX_WORKERS: '1' },
    );
    const first = await prompt('[[say hello]]');
    t.match(first, { status: 200 });
    const { session_id } = first.body;
    const json = JSON.parse(readFileSync(path, 'utf8'));
    json.claudeAiOauth.expiresAt = Date.now() + minute;
    writeFileSync(path, JSON.stringify(json));
    for (const login of server.logins.all) login.revoked = 'by hand';
    // The running process finds out.
    const waiting = [{ session_id }, {}, {}, {}].map((rest) => prompt('[[say hello]]', rest));
    const answers = await Promise.all(waiting);
    for (const { status, body } of answers) {
      t.match(
        { status, body },
        { status: 503, body: { code: 'login_required', retryable: false } },
      );
    }
    await log.logged('credentials_lost');
    t.equal(judgeCredentials(readFileSync(path, 'utf8')).kind, 'blank');
    // One of them has found out; the others were not sent.
    t.equal(server.requests.filter(({ outcome }) => outcome === 'invalid_grant').length, 1);
    const { body } = await call('GET', '/v1/status');
    t.match(body.credentials, { state: 'blank', advice: /login is lost.*log in again/ });
    const asked = surroundings.api.requests.length;
    const refused = await prompt('[[say hello]]');
    t.match(refused.body, { code: 'login_required', detail: /log in again/ });
    t.equal(surroundings.api.requests.length, asked);
    writeFileSync(source, server.login());
    await log.logged('credentials_applied');
    await until('it is valid', () => judgeCredentials(readFileSync(path, 'utf8')).kind === 'valid');
    t.match(await prompt('[[say again]]'), { status: 200, body: { result: 'again' } });
  },
);

t.test(
  'on a full disk a good login waits to be put back, and is as soon as there is room',
  { skip: cannotMount },
  async (t) => {
    const { prompt, log, path, call, metricsUrl, surroundings } = await start(
      t,
      { lifetime: 60 * minute },
      { BERTH_DISK_FULL: '1Ki', BERTH_DISK_LOW: '1Ki' },
      ({ config }) => {
        const login = readFileSync(join(config, '.credentials.json'));
        const volume = mountSmall(config, 'size=16m');
        t.teardown(() => volume[Symbol.dispose]());
        writeFileSync(join(config, '.credentials.json'), login, { mode: 0o600 });
      },
    );
    const good = readFileSync(path, 'utf8');
    const ballast = join(surroundings.config, 'ballast');
    fill(ballast);
    // What the supervisor was just writing may leave a page free.
    const filling = setInterval(() => fill(ballast), 5);
    t.teardown(() => clearInterval(filling));
    // No new file fits, but what is there can be written over.
    writeFileSync(path, JSON.stringify({ claudeAiOauth: { accessToken: '', refreshToken: '' } }));
    t.match(await log.logged('credentials_unkept', ({ retry_ms }) => retry_ms !== undefined), {
      msg: /restore the last good login: .*ENOSPC.*retries/,
    });
    await log.logged('credentials_lost');
    t.match(await prompt('[[say hello]]'), {
      status: 503,
      body: {
        code: 'login_unavailable',
        retryable: true,
        detail: /cannot be restored yet.*ENOSPC/,
      },
    });
    const { body } = await call('GET', '/v1/status');
    t.match(body.credentials, { put_back_waits_since: String, advice: /ENOSPC/ });
    const metrics = () => fetch(`${metricsUrl}/metrics`).then((answer) => answer.text());
    t.match(await metrics(), /^berth_login_put_back_waiting 1$/m);
    clearInterval(filling);
    rmSync(ballast);
    await log.logged('credentials_put_back', ({ waited_ms }) => waited_ms !== undefined);
    t.equal(readFileSync(path, 'utf8'), good);
    // It is told before the file is read again.
    await until('it is read again', async () => {
      const status = await call('GET', '/v1/status');
      return status.body.credentials.state === 'valid';
    });
    t.match(await metrics(), /^berth_login_put_back_waiting 0$/m);
    t.match(await prompt('[[say hello]]'), { status: 200, body: { result: 'hello' } });
  },
);

/** Writes until not one more page fits. */
function fill(path: string): void {
  const page = Buffer.alloc(4_096);
  const file = openSync(path, 'a');
  try {
    for (;;) writeSync(file, page);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    closeSync(file);
  }
}
