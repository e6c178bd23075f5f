import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { judgeCredentials } from '../../shared/credentials.ts';
import { bashAllowed, type Surroundings, startProcess } from '../support/claude.ts';
import { loggedIn } from '../support/logged-in.ts';
import type { LoginServer } from '../support/login-server.ts';
import { until } from '../support/until.ts';

t.jobs = 3;

const minute = 60_000;

/** One prompt in a process of its own, with the CLI's own words for what went wrong. */
async function ask(t: Test, surroundings: Surroundings, text = '[[say hello]]') {
  const result = await startProcess(t, surroundings).run(text);
  return { error: result.isError, said: result.result };
}

function credentialsOf({ config }: Surroundings) {
  return readFileSync(join(config, '.credentials.json'), 'utf8');
}

const outcomes = ({ requests }: LoginServer) => requests.map(({ outcome }) => outcome);

t.test(
  'while its access token lives a login is used as it is; the proxy leads nowhere else',
  async (t) => {
    const { surroundings, server } = await loggedIn(t, {}, { 'settings.json': bashAllowed });
    const input = JSON.stringify({ command: 'curl -sS https://example.org 2>&1 || true' });
    const { error, said } = await ask(t, surroundings, `[[tool Bash ${input}]]`);
    t.equal(error, false);
    t.match(said, /403|not found/);
    t.same(server.requests, []);
  },
);

t.test(
  'the CLI refreshes a login that is about to expire, with a new token each time',
  async (t) => {
    const { surroundings, server } = await loggedIn(t, {
      lifetime: minute,
      refreshed: 60 * minute,
    });
    const stale = credentialsOf(surroundings);
    t.match(await ask(t, surroundings), { error: false, said: 'hello' });
    t.same(outcomes(server), ['refreshed']);
    const path = join(surroundings.config, '.credentials.json');
    t.equal(judgeCredentials(credentialsOf(surroundings)).kind, 'valid');
    t.equal(statSync(path).mode & 0o777, 0o600);
    const json = JSON.parse(credentialsOf(surroundings));
    t.ok(json.claudeAiOauth.expiresAt > Date.now() + 50 * minute);
    json.claudeAiOauth.expiresAt = Date.now() + minute;
    writeFileSync(path, JSON.stringify(json));
    t.match(await ask(t, surroundings), { error: false, said: 'hello' });
    t.same(outcomes(server), ['refreshed', 'refreshed']);
    t.not(server.requests[0]?.refreshToken, server.requests[1]?.refreshToken);

    // A token that was used before loses the login, and the CLI blanks its file.
    writeFileSync(path, stale);
    t.match(await ask(t, surroundings), { error: true });
    t.equal(server.logins.all[0]?.revoked, 'reuse');
    t.equal(judgeCredentials(credentialsOf(surroundings)).kind, 'blank');
  },
);

t.test('two processes that meet an expired token refresh it once', async (t) => {
  const { surroundings, server } = await loggedIn(t, { lifetime: -minute, refreshed: 60 * minute });
  const answers = await Promise.all([1, 2].map(() => ask(t, surroundings)));
  for (const answer of answers) t.match(answer, { error: false, said: 'hello' });
  t.same(outcomes(server), ['refreshed']);
});

t.test('after a failure the file is as it was, and the next try refreshes it', async (t) => {
  const { surroundings, server } = await loggedIn(t, { lifetime: 4 * minute });
  const before = credentialsOf(surroundings);
  server.fault({ kind: 'status', status: 500 });
  // Its access token is still good.
  t.match(await ask(t, surroundings), { error: false });
  t.equal(credentialsOf(surroundings), before);
  server.fault(undefined);
  t.match(await ask(t, surroundings), { error: false });
  t.not(credentialsOf(surroundings), before);
  t.equal(outcomes(server).at(-1), 'refreshed');
});

t.test('an answer that is lost has used its token up: the next try loses the login', async (t) => {
  const { surroundings, server } = await loggedIn(t, { lifetime: -minute });
  server.fault({ kind: 'lose answer', times: 1 });
  await ask(t, surroundings);
  const isBlank = () => judgeCredentials(credentialsOf(surroundings)).kind === 'blank';
  await until('the CLI has emptied its file', isBlank);
  t.equal(server.logins.all[0]?.revoked, 'reuse');
});

t.test('a login ends at its deadline, even after a refresh', async (t) => {
  const { surroundings, server } = await loggedIn(t, { lifetime: minute, deadline: -1 });
  await ask(t, surroundings);
  t.same(outcomes(server), ['invalid_grant']);
  t.equal(server.logins.all[0]?.revoked, 'ended');
});
