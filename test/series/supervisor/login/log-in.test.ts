import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { text as readText } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { judgeCredentials, loginId } from '../../../../shared/credentials.ts';
import { readAppliedSource, writeAppliedSource } from '../../../../shared/credentials-memory.ts';
import { installedPlace } from '../../../../shared/installed-cli.ts';
import { realClaude } from '../../../support/claude.ts';
import { loggedIn } from '../../../support/logged-in.ts';
import { lives, processesOf } from '../../../support/processes.ts';
import { startWithRealCli } from '../../../support/supervisor.ts';
import { startInTerminal } from '../../../support/terminal.ts';
import { until } from '../../../support/until.ts';

t.jobs = 3;

const program = join(import.meta.dirname, '../../../../dist/berth.mjs');

/** A volume with a login, and `berth login` beside it. */
async function prepare(t: Test, settings: Record<string, string> = {}) {
  const { surroundings, server } = await loggedIn(t, {});
  const { config, inherited } = surroundings;
  const path = join(config, '.credentials.json');
  const temporary = join(config, '../tmp');
  mkdirSync(temporary);
  const environment = {
    ...inherited,
    TMPDIR: temporary,
    BERTH_CONFIG_DIR: config,
    BERTH_CLAUDE_PATH: realClaude,
    BERTH_CREDENTIALS_SOURCE: join(config, '../source.json'),
    ...settings,
  };
  const read = () => readFileSync(path, 'utf8');
  return {
    surroundings,
    server,
    environment,
    path,
    read,
    before: read(),
    left: () => readdirSync(temporary),
    start: () =>
      startInTerminal(t, {
        command: `'${process.execPath}' '${program}' login`,
        workingDirectory: surroundings.workspace,
        environment,
      }),
  };
}

type Prepared = Awaited<ReturnType<typeof prepare>>;

/** To where the CLI waits for the code. @returns what the page in the browser has the person paste */
async function codeFor(terminal: ReturnType<Prepared['start']>, { server }: Prepared) {
  const [url] = await terminal.shows(/https:\/\/\S+oauth\/authorize\S+(?= Paste code)/);
  await terminal.shows(/Paste code here/);
  return server.agree(url);
}

t.test('`berth login` succeeds despite a changed source and an override', async (t) => {
  const prepared = await prepare(t, {
    BERTH_CLAUDE_PATH: '',
    PATH: [dirname(process.execPath), '/usr/bin', '/bin'].join(':'),
    CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-not-a-token',
  });
  const { environment, surroundings, server } = prepared;
  const state = join(surroundings.config, '.berth');
  const id = '1'.repeat(32);
  const { directory, binary } = installedPlace(state, id);
  mkdirSync(directory, { recursive: true });
  writeFileSync(binary, `#!/bin/sh\nexec '${realClaude}' "$@"\n`, { mode: 0o755 });
  const record = { version: 1, current: '2'.repeat(32), previous: id };
  writeFileSync(join(state, 'cli.json'), JSON.stringify(record));
  // A source that a person changed, which nobody has taken yet.
  writeFileSync(environment.BERTH_CREDENTIALS_SOURCE ?? '', server.login());
  await writeAppliedSource(state, { digest: '0'.repeat(64) });
  const terminal = prepared.start();
  terminal.type(`${await codeFor(terminal, prepared)}\r`);
  const exitCode = await terminal.exited;

  await t.test('without a CLI in the image, it uses the CLI that init installed', async (t) => {
    t.equal(exitCode, 0, terminal.screen());
    t.not(prepared.read(), prepared.before);
  });

  await t.test('neither init nor an unchanged source replaces the new login', async (t) => {
    const judged = judgeCredentials(readFileSync(environment.BERTH_CREDENTIALS_SOURCE ?? ''));
    const applied = await readAppliedSource(state);
    t.ok(judged.kind === 'valid' && applied?.digest === judged.credentials.digest);
    t.not(prepared.read(), prepared.before);
  });

  await t.test('it names a variable that overrides the new login', async (t) => {
    t.match(terminal.screen(), /But CLAUDE_CODE_OAUTH_TOKEN has precedence/);
    const judged = judgeCredentials(prepared.read());
    t.ok(judged.kind === 'valid' && loginId(judged.credentials).length === 12);
  });
});

t.test('a login while the supervisor runs needs no restart and causes no refresh', async (t) => {
  const prepared = await prepare(t);
  const { surroundings, server, environment, path } = prepared;
  const { log, prompt, metricsUrl, call } = await startWithRealCli(t, {
    surroundings,
    settings: { BERTH_CREDENTIALS_SOURCE: environment.BERTH_CREDENTIALS_SOURCE },
    environment: { ANTHROPIC_API_KEY: undefined },
  });
  const first = await prompt('[[say before]]');
  t.match(first, { status: 200, body: { result: 'before' } });
  const terminal = prepared.start();
  terminal.type(`${await codeFor(terminal, prepared)}\r`);
  t.equal(await terminal.exited, 0, terminal.screen());
  t.match(terminal.screen(), /The volume has the new login.*Log in again before 20\d\d-/);

  const judged = judgeCredentials(prepared.read());
  t.match(judged, { kind: 'valid' });
  t.not(prepared.read(), prepared.before);
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.same(prepared.left(), []);
  t.notMatch(terminal.screen(), /sk-ant-o/);
  await until('the supervisor has taken it', () =>
    log.lines.find(({ msg }) => /adopted the login of `berth login`/.test(String(msg))),
  );
  // The old login's end shows that the new one is used, in the very process that had the old one.
  const [old] = server.logins.all;
  if (old) old.revoked = 'by hand';
  const { session_id } = first.body;
  const after = await prompt('[[say after]]', { session_id });
  t.match(after, { status: 200, body: { result: 'after', recycled: 0 } });
  const { body } = await call('GET', '/v1/status');
  t.match(body, { credentials: { state: 'valid' } });
  const metrics = await (await fetch(new URL('/metrics', metricsUrl))).text();
  t.match(metrics, /berth_credentials_events_total\{event="adopted"\} 1/);
  t.match(metrics, /event="refreshed"\} 0$/m);
  // What it replaced may be put back still: it is neither used up nor refused.
  const replaced = join(surroundings.config, '.berth/replaced-credentials.json');
  t.equal(readFileSync(replaced, 'utf8'), prepared.before);
});

t.test('a wrong code, Ctrl-C, and a second one at the same time change nothing', async (t) => {
  const prepared = await prepare(t);
  const first = prepared.start();
  await codeFor(first, prepared);
  const second = prepared.start();
  t.equal(await second.exited, 75);
  t.match(second.screen(), /another `berth login` is running/);
  first.type('\x03');
  t.equal(await first.exited, 77);
  t.match(first.screen(), /cannot log in: it was interrupted; nothing has changed/);

  const third = prepared.start();
  await codeFor(third, prepared);
  third.type('wrong#code\r');
  t.equal(await third.exited, 77);
  t.match(third.screen(), /cannot log in: the CLI ended with exit code 1; nothing has changed/);
  t.equal(prepared.read(), prepared.before);
  t.same(prepared.left(), []);
  t.notOk(existsSync(join(prepared.surroundings.config, '.berth/new-login.json')));
});

t.test('killed half way, it has changed nothing, and the next one clears up', async (t) => {
  const prepared = await prepare(t);
  const terminal = prepared.start();
  await codeFor(terminal, prepared);
  const [directory = ''] = prepared.left();
  const [cli] = processesOf(join(prepared.environment.TMPDIR, directory));
  const [, berth] = /^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${cli?.pid}/status`, 'utf8')) ?? [];
  process.kill(Number(berth), 'SIGKILL');
  await terminal.exited;
  await until('the CLI has ended', () => cli && !lives(cli.pid));
  t.same(prepared.left(), [directory]);
  t.equal(prepared.read(), prepared.before);
  const again = prepared.start();
  again.type(`${await codeFor(again, prepared)}\r`);
  t.equal(await again.exited, 0, again.screen());
  t.same(prepared.left(), []);
});

t.test('a refresh that is under way comes first', async (t) => {
  const prepared = await prepare(t);
  const lock = join(prepared.surroundings.config, '.oauth_refresh.lock');
  mkdirSync(lock);
  const terminal = prepared.start();
  terminal.type(`${await codeFor(terminal, prepared)}\r`);
  await terminal.shows(/Waiting for a worker that refreshes the old login/);
  terminal.type('\x03');
  t.equal(await terminal.exited, 77);
  t.equal(prepared.read(), prepared.before);
  t.ok(existsSync(lock));
});

t.test('berth login reports a missing terminal or a missing volume', async (t) => {
  const prepared = await prepare(t);
  const child = spawn(process.execPath, [program, 'login'], { env: prepared.environment });
  const [[code], error] = await Promise.all([once(child, 'exit'), readText(child.stderr)]);
  t.equal(code, 64);
  t.match(error, /there is no terminal.*kubectl exec -it/);
  prepared.environment.BERTH_CONFIG_DIR = '/nowhere/at/all';
  const terminal = prepared.start();
  t.equal(await terminal.exited, 73);
  t.match(terminal.screen(), /cannot write \/nowhere\/at\/all/);
});

t.test('berth login names a policy that would override the login', async (t) => {
  const prepared = await prepare(t, { BERTH_CREDENTIALS_POLICY: 'source' });
  writeFileSync(prepared.environment.BERTH_CREDENTIALS_SOURCE ?? '', prepared.server.login());
  const refused = prepared.start();
  t.equal(await refused.exited, 64);
  t.match(
    refused.screen(),
    /POLICY=source makes init replace it by the login of .* set it to `fresher`/,
  );
});
