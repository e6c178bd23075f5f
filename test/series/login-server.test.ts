import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { judgeCredentials } from '../../shared/credentials.ts';
import type { ClaudeProcess } from '../../supervisor/claude/process.ts';
import { bashAllowed, startProcess } from '../support/claude.ts';
import { loggedIn } from '../support/logged-in.ts';
import type { LoginOptions } from '../support/login-server.ts';
import { until } from '../support/until.ts';

const minute = 60_000;

// Two processes of the real CLI on one volume serve all tests. Each test brings a login of its own.
const { surroundings, server } = await loggedIn(t, {}, { 'settings.json': bashAllowed });
const path = join(surroundings.config, '.credentials.json');
const first = startProcess(t, surroundings);
const second = startProcess(t, surroundings, { name: 'worker-2' });
// Neither may look at a login of a test while it starts.
await Promise.all([first, second].map((one) => one.control({ subtype: 'initialize' })));

/** The answer to one prompt, or the CLI's own words for what went wrong. */
async function ask(text = '[[say hello]]', process: ClaudeProcess = first) {
  const result = await process.run(text);
  return { error: result.isError, said: result.result };
}

/** A person logs in. @returns how the login is judged from now on, and what is asked for it */
function logIn(options: LoginOptions = {}) {
  server.fault(undefined);
  writeFileSync(path, server.login(options));
  const before = server.requests.length;
  const login = server.logins.all.at(-1);
  return {
    login,
    requests: () => server.requests.slice(before),
    outcomes: () => server.requests.slice(before).map(({ outcome }) => outcome),
  };
}

const read = () => readFileSync(path, 'utf8');
const kind = () => judgeCredentials(read()).kind;

t.test(
  'while its access token lives a login is used as it is; the proxy leads nowhere else',
  async (t) => {
    const { requests } = logIn();
    const input = JSON.stringify({ command: 'curl -sS https://example.org 2>&1 || true' });
    const { error, said } = await ask(`[[tool Bash ${input}]]`);
    t.equal(error, false);
    t.match(said, /403|not found/);
    t.same(requests(), []);
  },
);

t.test(
  'the CLI refreshes a login that is about to expire, with a new token each time',
  async (t) => {
    const { login, requests, outcomes } = logIn({ lifetime: minute, refreshed: 60 * minute });
    const stale = read();
    t.match(await ask(), { error: false, said: 'hello' });
    t.same(outcomes(), ['refreshed']);
    t.equal(kind(), 'valid');
    t.equal(statSync(path).mode & 0o777, 0o600);
    const json = JSON.parse(read());
    t.ok(json.claudeAiOauth.expiresAt > Date.now() + 50 * minute);
    json.claudeAiOauth.expiresAt = Date.now() + minute;
    writeFileSync(path, JSON.stringify(json));
    t.match(await ask(), { error: false, said: 'hello' });
    t.same(outcomes(), ['refreshed', 'refreshed']);
    t.not(requests()[0]?.refreshToken, requests()[1]?.refreshToken);

    // A token that was used before loses the login, and the CLI blanks its file.
    writeFileSync(path, stale);
    t.match(await ask(), { error: true });
    t.equal(login?.revoked, 'reuse');
    t.equal(kind(), 'blank');
  },
);

t.test('two processes that meet an expired token refresh it once', async (t) => {
  const { outcomes } = logIn({ lifetime: -minute, refreshed: 60 * minute });
  const answers = await Promise.all([first, second].map((one) => ask('[[say hello]]', one)));
  for (const answer of answers) t.match(answer, { error: false, said: 'hello' });
  t.same(outcomes(), ['refreshed']);
});

t.test('after a failure the file is as it was, and the next try refreshes it', async (t) => {
  const { outcomes } = logIn({ lifetime: 4 * minute });
  const before = read();
  server.fault({ kind: 'status', status: 500 });
  // Its access token is still good.
  t.match(await ask(), { error: false });
  t.equal(read(), before);
  t.strictSame([...new Set(outcomes())], ['fault'], 'a refresh was tried');
  server.fault(undefined);
  t.match(await ask(), { error: false });
  t.not(read(), before);
  t.equal(outcomes().at(-1), 'refreshed');
});

t.test('an answer that is lost has used its token up: the next try loses the login', async (t) => {
  const { login } = logIn({ lifetime: -minute });
  server.fault({ kind: 'lose answer', times: 1 });
  await ask();
  await until('the CLI has emptied its file', () => kind() === 'blank');
  t.equal(login?.revoked, 'reuse');
});

t.test('a login ends at its deadline, even after a refresh', async (t) => {
  const { login, outcomes } = logIn({ lifetime: minute, deadline: -1 });
  await ask();
  t.same(outcomes(), ['invalid_grant']);
  t.equal(login?.revoked, 'ended');
});
