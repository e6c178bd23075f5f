import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { text as readText } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { type Checked, failed, ok, runChecks } from '../../../supervisor/doctor/check.ts';
import { type Diagnosis, diagnose } from '../../../supervisor/doctor/doctor.ts';
import { tableOf } from '../../../supervisor/doctor/table.ts';
import { realClaude } from '../../support/claude.ts';
import { testDirectory } from '../../support/directory.ts';
import { loggedIn } from '../../support/logged-in.ts';
import { startLoginServer } from '../../support/login-server.ts';
import { compiledCode } from '../../support/programs.ts';
import { startWithRealCli } from '../../support/supervisor.ts';

t.jobs = 3;

const program = join(import.meta.dirname, '../../../dist/berth.mjs');

async function runDoctor(environment: Record<string, string>, ...options: string[]) {
  const env = { ...compiledCode, ...environment };
  const child = spawn(process.execPath, [program, 'doctor', ...options], { env });
  const [[code], output, error] = await Promise.all([
    once(child, 'exit'),
    readText(child.stdout),
    readText(child.stderr),
  ]);
  return { code, output, error };
}

/** In this process, with the hosts of the stand-in login server alone; its repository is there too. */
async function diagnosed(t: Test, config: Record<string, string>, more: Record<string, string>) {
  const directory = testDirectory(t, { config, workspace: {} });
  const server = await startLoginServer();
  t.teardown(() => server.close());
  const { HTTPS_PROXY = '' } = server.environment;
  const found = await diagnose({
    PATH: process.env.PATH,
    HOME: directory,
    ...{ HTTPS_PROXY, BERTH_REPO: 'https://claude.ai/me/dot-claude' },
    BERTH_CONFIG_DIR: join(directory, 'config'),
    BERTH_WORKSPACE_DIR: join(directory, 'workspace'),
    BERTH_CLAUDE_PATH: realClaude,
    ...more,
  });
  const of = (check: string, subject = /./): Checked[] =>
    found.diagnosis.findings.filter((each) => each.check === check && subject.test(each.subject));
  return { ...found, of, directory, server };
}

t.test('beside a running supervisor all is well, and nothing changes', async (t) => {
  const { surroundings, server } = await loggedIn(t, {}, { 'settings.json': '{}' });
  const { config, workspace, inherited } = surroundings;
  const { prompt } = await startWithRealCli(t, {
    surroundings,
    environment: { ANTHROPIC_API_KEY: undefined },
  });
  const report = {
    ...{ version: 1, repository: 'https://claude.ai/me/dot-claude', commit: 'a'.repeat(40) },
    ...{ remote: 'current', confirmed_at: new Date().toISOString() },
  };
  writeFileSync(join(config, '.berth/report.json'), JSON.stringify(report));
  const login = readFileSync(join(config, '.credentials.json'), 'utf8');
  const lease = () => JSON.parse(readFileSync(join(config, '.berth/lease.json'), 'utf8')).owner;
  const owner = lease();
  const { ANTHROPIC_BASE_URL: _, ...rest } = inherited;
  const environment = {
    ...rest,
    BERTH_REPO: 'https://claude.ai/me/dot-claude',
    BERTH_CONFIG_DIR: config,
    BERTH_WORKSPACE_DIR: workspace,
    BERTH_CLAUDE_PATH: realClaude,
    // Nothing listens there: a machine with an open way to the internet would be warned.
    BERTH_DOCTOR_PROBE: '127.0.0.1:1',
  };
  const { code, output, error } = await runDoctor(environment, '--json');
  const { ok: well, findings } = JSON.parse(output) as Diagnosis;
  t.same(
    findings.filter(({ status }) => status === 'failed'),
    [],
    error,
  );
  t.same([code, well], [0, true]);
  t.same(
    findings.filter(({ check, status }) => check === 'egress' && status === 'ok').length,
    5,
    'three hosts of the CLI, the repository, and the one that must not be reached',
  );
  const { claudeAiOauth } = JSON.parse(login);
  for (const token of [claudeAiOauth.accessToken, claudeAiOauth.refreshToken]) {
    t.notOk(output.includes(token));
  }
  t.equal(lease(), owner);
  t.equal(readFileSync(join(config, '.credentials.json'), 'utf8'), login);
  t.same(server.requests, []);
  t.match(await prompt('[[say still]]'), { status: 200, body: { result: 'still' } });
});

t.test('each problem is reported with its remedy, and no problem hides another', async (t) => {
  const settings = {
    hooks: {
      PreToolUse: [{ hooks: [{ type: 'command', command: 'A=1 no-such-program --x | jq' }] }],
    },
  };
  const { diagnosis, exitCode, of } = await diagnosed(
    t,
    {
      'settings.json': JSON.stringify(settings),
      '.mcp.json': '{"mcpServers": {"far": {"type": "http", "url": "https://far.example/mcp"}}}',
      '.credentials.json':
        '{"claudeAiOauth":{"accessToken":"","refreshToken":"","expiresAt":0,"scopes":["x"]}}',
    },
    {
      BERTH_MAX_WORKERS: 'many',
      BERTH_QUEUE_LIMITS: '3',
      BERTH_CLAUDE_PATH: '/nowhere/claude',
      BERTH_REPO: 'https://git.example/me/x',
    },
  );
  t.equal(exitCode, 64, 'of the first check that has failed');
  t.match(of('settings'), [{ status: 'failed', detail: /BERTH_MAX_WORKERS: "many" is not valid/ }]);
  t.match(of('login', /^login$/), [
    { status: 'failed', detail: /refused/, remedy: /setup-token.*berth login.*credentials file/ },
  ]);
  t.match(of('cli'), [{ status: 'failed', detail: /program does not exist/, remedy: /install/ }]);
  t.match(of('egress', /git\.example/), [
    { status: 'failed', detail: /proxy .* answered 403/, remedy: /HTTPS_PROXY/ },
  ]);
  t.match(of('commands', /hook PreToolUse/), [
    { status: 'failed', detail: 'no-such-program does not exist, or cannot be run' },
  ]);
  t.match(of('commands', /MCP server far/), [{ status: 'failed', detail: /far\.example:443/ }]);
  for (const { status, remedy, subject } of diagnosis.findings) {
    t.equal(remedy !== undefined, status === 'failed' || status === 'warning', subject);
  }
  const table = tableOf(diagnosis, false);
  t.match(table, /^failed +login +login: the login server has refused the login/m);
  t.match(table, /^ +-> log in again/m);
});

t.test('the table ends with the sum', (t) => {
  const finding = (status: Checked['status']): Checked => ({
    check: 'memory',
    status,
    subject: 'limit',
    detail: 'x',
  });
  const sumOf = (...statuses: Checked['status'][]) =>
    tableOf({ version: '1', ok: true, findings: statuses.map(finding) }, false)
      .split('\n')
      .at(-2);
  t.equal(sumOf('warning', 'ok', 'n/a'), 'berth 1: 0 failed, 1 warning, 1 ok');
  t.equal(sumOf('warning', 'failed', 'warning'), 'berth 1: 1 failed, 2 warnings, 0 ok');
  t.end();
});

t.test('without the volume the rest is still looked at', async (t) => {
  const { code, output } = await runDoctor({
    PATH: process.env.PATH ?? '',
    HOME: '/nonexistent',
    HTTPS_PROXY: 'http://127.0.0.1:9',
    BERTH_CONFIG_DIR: '/nowhere/at/all',
    BERTH_CLAUDE_PATH: realClaude,
    CLAUDE_CODE_OAUTH_TOKEN: 'sk-ant-oat01-not-a-token-0123456789',
  });
  t.equal(code, 73);
  t.match(output, /^failed +volume +\/nowhere\/at\/all: .*\n +-> mount the volume there/m);
  t.match(output, /^ok +login +CLAUDE_CODE_OAUTH_TOKEN: a setup-token is set/m);
  t.match(output, /^ok +cli +/m);
  t.match(output, /^n\/a +egress +platform\.claude\.com:443: .*not refreshed/m);
  t.notMatch(output, /sk-ant/);
});

t.test('egress that nothing bounds is a warning', async (t) => {
  const open = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  t.teardown(() => open.close());
  await once(open, 'listening');
  const { port } = open.address() as AddressInfo;
  // The proxy refuses it, which a tool need not ask.
  const { of } = await diagnosed(t, {}, { BERTH_DOCTOR_PROBE: `127.0.0.1:${port}` });
  t.match(of('egress', /^127\.0\.0\.1:/), [
    { status: 'warning', detail: /it can be reached: nothing limits/, remedy: /egress policy/ },
  ]);
  // The certificate is of a CA that this process does not know.
  t.match(of('egress', /api\.anthropic/), [
    { status: 'failed', detail: /not trusted/, remedy: /NODE_EXTRA_CA_CERTS/ },
  ]);
});

t.test('a proxy that allows an unneeded host is a warning', async (t) => {
  const { of } = await diagnosed(t, {}, { BERTH_DOCTOR_PROBE: 'api.anthropic.com:443' });
  t.match(of('egress', /^api\.anthropic\.com:443/), [
    { detail: /certificate is not trusted/ },
    {
      status: 'warning',
      detail: /through the proxy of HTTPS_PROXY/,
      remedy: /only the required hosts/,
    },
  ]);
});

t.test(
  'the symlinks of a hostile volume are reported, not followed',
  { timeout: 60_000 },
  async (t) => {
    const directory = testDirectory(t, {
      config: { '.berth': {} },
      secret: 'sk-ant-oat01-of-somebody-else',
    });
    const config = join(directory, 'config');
    const secret = join(directory, 'secret');
    symlinkSync(secret, join(config, '.credentials.json'));
    symlinkSync(secret, join(config, 'settings.json'));
    symlinkSync('/dev/zero', join(config, '.mcp.json'));
    execFileSync('mkfifo', [join(config, '.claude.json')]);
    writeFileSync(join(config, '.berth/report.json'), 'x'.repeat(300 * 1024));
    mkdirSync(join(config, '.berth/conflicts/20260101T000000Z-\u001b[31mred'), { recursive: true });
    const { diagnosis, exitCode } = await diagnose({
      PATH: process.env.PATH,
      HTTPS_PROXY: 'http://127.0.0.1:9',
      BERTH_CONFIG_DIR: config,
      BERTH_CLAUDE_PATH: realClaude,
    });
    t.equal(exitCode, 77, 'of the login: a symlink is none');
    const text = JSON.stringify(diagnosis) + tableOf(diagnosis, false);
    t.notMatch(text, /somebody-else/);
    t.notOk(text.includes('\u001b'));
    const told = diagnosis.findings.filter(({ check }) => check === 'commands');
    t.match(told, [
      { subject: 'settings.json', detail: /is a symlink/ },
      { subject: '.mcp.json', detail: /is a symlink/ },
      { subject: '.claude.json', detail: /not a regular file/ },
    ]);
    t.match(
      diagnosis.findings.filter(({ subject }) => /\/(conflicts|report\.json)$/.test(subject)),
      [{ status: 'warning' }, { status: 'warning' }],
    );
    t.ok(statSync(secret).isFile());
  },
);

t.test('a check that hangs or throws is a finding among the others', async (t) => {
  const found = await runChecks(
    [
      { name: 'good', exit: 1, run: async () => [ok('a', 'b')] },
      { name: 'hanging', exit: 1, run: () => new Promise(() => {}) },
      {
        name: 'throwing',
        exit: 1,
        run: () => {
          throw new Error('thrown at once');
        },
      },
      { name: 'bad', exit: 1, run: async () => [failed('a', 'b', 'c')] },
    ],
    50,
  );
  t.match(found, [
    { check: 'good', status: 'ok' },
    { check: 'hanging', status: 'failed', detail: 'no answer within 0.05 s' },
    { check: 'throwing', status: 'failed', detail: 'thrown at once' },
    { check: 'bad', status: 'failed', remedy: 'c' },
  ]);
});
