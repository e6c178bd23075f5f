/**
 * Refreshes as a supervisor meets them, with the real CLI and the stand-in login server: one at a time,
 * each fault of the login server, a login that is renewed too late for a turn, and a stop in the middle.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { judgeCredentials } from '../../../../shared/credentials.ts';
import { bashAllowed, makeSurroundings, type Surroundings } from '../../../support/claude.ts';
import { loggedIn, useLogin } from '../../../support/logged-in.ts';
import {
  type Login,
  type LoginFault,
  type LoginOptions,
  startLoginServer,
} from '../../../support/login-server.ts';
import type { RecordedRequest } from '../../../support/messages-api.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';
import { until } from '../../../support/until.ts';

t.jobs = 3;

const minute = 60_000;

async function start(t: Test, login: LoginOptions, settings: Record<string, string> = {}) {
  const files = { 'settings.json': bashAllowed };
  const { surroundings, server } = await loggedIn(t, login, files);
  const path = join(surroundings.config, '.credentials.json');
  const running = await startWithRealCli(t, { surroundings, settings });
  return { ...running, server, path };
}

/** What the stand-in answers to the words with which the turn goes on. */
const told = /You said: The login was renewed\. Carry on where you stopped\./;

const kindOf = (path: string) => judgeCredentials(readFileSync(path, 'utf8')).kind;

async function failures(metricsUrl: string): Promise<Record<string, number>> {
  const text = await (await fetch(`${metricsUrl}/metrics`)).text();
  const found = text.matchAll(
    /^berth_credentials_refresh_failures_total\{reason="(\w+)"\} (\d+)/gm,
  );
  return Object.fromEntries([...found].map(([, reason, count]) => [reason, Number(count)]));
}

/** Another login in the place of what is there, whole at once. */
function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

t.test(
  'of prompts that meet an expired token at once one refreshes, and all are answered',
  async (t) => {
    const { prompt, server, log, metricsUrl } = await start(
      t,
      { lifetime: -minute, refreshed: 60 * minute },
      { BERTH_MAX_WORKERS: '3', BERTH_WARM_WORKERS: '1' },
    );
    const answers = await Promise.all(
      ['a', 'b', 'c', 'd'].map((text) => prompt(`[[say ${text}]]`)),
    );
    t.same(
      answers.map(({ body }) => body.result),
      ['a', 'b', 'c', 'd'],
    );
    t.same(
      server.requests.map(({ outcome }) => outcome),
      ['refreshed'],
    );
    t.equal(log.count('credentials_refresh_failed'), 0);
    t.same(await failures(metricsUrl), { refused: 0, failed: 0, postponed: 0 });
  },
);

t.test('while one refreshes slowly, warm processes get no other prompt', async (t) => {
  const { prompt, server, path, surroundings } = await start(
    t,
    { refreshed: 60 * minute },
    { BERTH_WARM_WORKERS: '2' },
  );
  const { body } = await prompt('[[say first]]');
  const json = JSON.parse(readFileSync(path, 'utf8'));
  json.claudeAiOauth.expiresAt = Date.now() + minute;
  replace(path, JSON.stringify(json));
  server.fault({ kind: 'slow', milliseconds: 1_500, times: 1 });
  const asked = surroundings.api.requests.length;
  const both = [prompt('[[say x]]', { session_id: body.session_id }), prompt('[[say y]]')];
  await until('the refresh is asked for', () => server.requests.length === 1);
  t.equal(surroundings.api.requests.length, asked);
  for (const answer of await Promise.all(both)) t.equal(answer.status, 200);
  t.equal(server.requests.length, 1);
});

const faults: {
  name: string;
  fault: LoginFault;
  lifetime: number;
  code?: string;
  reason: string;
}[] = [
  // It waits longest.
  { name: 'a hang', fault: { kind: 'hang' }, lifetime: 4, reason: 'postponed' },
  {
    name: '500',
    fault: { kind: 'status', status: 500 },
    lifetime: -1,
    code: 'login_unavailable',
    reason: 'failed',
  },
  { name: '429', fault: { kind: 'status', status: 429 }, lifetime: 4, reason: 'postponed' },
  {
    name: 'invalid_grant',
    fault: { kind: 'invalid_grant' },
    lifetime: 4,
    code: 'login_required',
    reason: 'refused',
  },
];

for (const { name, fault, lifetime, code, reason } of faults) {
  const ends = code ?? 'an answer by the old token';
  t.test(`${name} of the login server ends in ${ends}`, async (t) => {
    const { prompt, server, path, log, metricsUrl } = await start(t, {
      lifetime: lifetime * minute,
      refreshed: 60 * minute,
    });
    server.fault(fault);
    const { status, body } = await prompt('[[say hello]]');
    if (code) t.match({ status, body }, { status: 503, body: { code } });
    else t.match({ status, body }, { status: 200, body: { result: 'hello' } });
    t.equal(body.retryable ?? true, code !== 'login_required');
    const line = await log.logged('credentials_refresh_failed');
    t.match(line, { reason });
    t.match(await failures(metricsUrl), { [reason]: 1 });
    if (reason === 'refused') return;
    t.equal(kindOf(path), 'valid', 'the login is kept');
    server.fault(undefined);
    const { session_id } = body;
    const again = await prompt('[[say again]]', session_id ? { session_id } : {});
    t.match(again, { status: 200, body: { result: 'again' } });
    t.equal(server.requests.at(-1)?.outcome, 'refreshed');
  });
}

for (const skew of [10, -10]) {
  t.test(`a clock that is ${skew} minutes off the login server's loses nothing`, async (t) => {
    const surroundings = await makeSurroundings(t);
    const server = await startLoginServer({ now: () => Date.now() + skew * minute });
    t.teardown(() => server.close());
    const path = join(surroundings.config, '.credentials.json');
    // Ahead: it has ended there and seems good here. Behind: the reverse.
    writeFileSync(
      path,
      server.login({ lifetime: (skew > 0 ? -2 : 8) * minute, refreshed: 60 * minute }),
    );
    useLogin(surroundings, server);
    const { prompt } = await startWithRealCli(t, { surroundings });
    const answers = await Promise.all([prompt('[[say hello]]'), prompt('[[say hello]]')]);
    for (const { body } of answers) t.match(body, { result: 'hello' });
    t.equal(server.requests.length, 1);
    t.match(server.logins.all, [{ revoked: undefined, refreshes: 1 }]);
  });
}

/** Whether the CLI has noted in a transcript, after `text`, that the API, or it itself, did not accept the login. */
function failedAfter(text: string, { config }: Surroundings): boolean {
  const folder = join(config, 'projects');
  const names = existsSync(folder)
    ? readdirSync(folder, { recursive: true, encoding: 'utf8' })
    : [];
  return names
    .filter((name) => name.endsWith('.jsonl'))
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .some((lines) => {
      const [, ...rest] = lines.split(text);
      return /Not logged in|Failed to auth/.test(rest.join());
    });
}

t.test('in one process, a login that comes too late for a turn', async (t) => {
  const { prompt, server, path, surroundings, log } = await start(t, {});
  const { api, workspace } = surroundings;
  const { body } = await prompt('[[say one]]');
  const { session_id } = body;
  // berth would restore a file that is gone, perhaps before the turn reads it.
  const revoke = (logins: readonly Login[]): void => {
    for (const login of logins) login.revoked ??= 'by hand';
    server.fault({ kind: 'status', status: 500 });
  };
  const admit = ({ headers }: RecordedRequest) => {
    const shown = String(headers.authorization ?? '').replace(/^Bearer /, '');
    return server.logins.admits(shown) ? undefined : { status: 401, text: 'Invalid bearer token' };
  };

  await t.test('the login takes the turn to its answer still', async (t) => {
    revoke(server.logins.all);
    api.reply(admit);
    const answer = prompt('[[say two]]', { session_id });
    await until('the turn has failed', () => failedAfter('[[say two]]', surroundings));
    replace(path, server.login());
    t.match(await answer, {
      status: 200,
      body: { result: told, session_id, num_turns: 1, recycled: 0 },
    });
    t.match(await log.logged('turn_carried_on'), { reason: 'login' });
    // The process still had the prompt.
    t.match(JSON.stringify(api.requests.at(-1)?.body), /\[\[say two\]\]/);
  });

  await t.test(
    'after a tool has run the turn goes on where it was, and runs it once',
    async (t) => {
      const bash = JSON.stringify({ command: 'echo ran >> ran.txt' });
      const ran = join(workspace, 'ran.txt');
      // The login that comes too late is not one of these.
      const known = [...server.logins.all];
      let refused = 0;
      api.reply((request) => {
        if (!existsSync(ran)) return admit(request);
        revoke(known);
        const refusal = admit(request);
        if (refusal) refused += 1;
        return refusal;
      });
      const answer = prompt(`[[tool Bash ${bash}]] [[say done]]`, { session_id });
      await until(
        'the turn has failed after the tool',
        () => refused > 0 && failedAfter('ran.txt', surroundings),
      );
      replace(path, server.login());
      t.match(await answer, { status: 200, body: { result: told } });
      t.equal(readFileSync(ran, 'utf8'), 'ran\n');
    },
  );
});

t.test('a stop in the middle of a refresh waits for it', async (t) => {
  for (const how of ['busy', 'starting'] as const) {
    const { prompt, server, path, supervisor } = await start(
      t,
      { lifetime: -minute, refreshed: 60 * minute },
      { BERTH_WARM_WORKERS: how === 'starting' ? '1' : '0' },
    );
    const before = readFileSync(path, 'utf8');
    server.fault({ kind: 'slow', milliseconds: 3_000 });
    const answer = how === 'busy' ? prompt('[[say hello]]') : undefined;
    await until('the refresh is asked for', () => server.requests.length > 0);
    await supervisor.stop();
    if (answer) t.match((await answer).body, { code: 'draining' });
    t.not(readFileSync(path, 'utf8'), before, how);
    t.match(judgeCredentials(readFileSync(path, 'utf8')), { kind: 'valid' });
  }
});

t.test(
  'a refresh that another process is stuck in ends in a typed error, and the login is kept',
  async (t) => {
    const { prompt, path, surroundings } = await start(t, { lifetime: -minute });
    const locks = [join(surroundings.config, '.oauth_refresh.lock'), `${surroundings.config}.lock`];
    for (const lock of locks) mkdirSync(lock);
    // The CLI takes over a lock that is old.
    const touching = setInterval(() => {
      for (const lock of locks) utimesSync(lock, new Date(), new Date());
    }, 1_000);
    t.teardown(() => {
      clearInterval(touching);
      for (const lock of locks) rmdirSync(lock);
    });
    const { body } = await prompt('[[say hello]]');
    t.match(body, { code: 'login_unavailable', retryable: true });
    t.equal(kindOf(path), 'valid');
  },
);
