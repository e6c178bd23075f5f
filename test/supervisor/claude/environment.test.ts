import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { cliVariables } from '../../../supervisor/claude/cli-variables.ts';
import { cliEnvironment, ignoredByCli } from '../../../supervisor/claude/environment.ts';
import { bashAllowed, makeSurroundings, realClaude, startProcess } from '../../support/claude.ts';
import { promptText } from '../../support/messages-api.ts';

const secrets = {
  BERTH_API_TOKENS_FILE: '/secrets/tokens',
  BERTH_GIT_TOKEN: 'a-git-token',
  GITHUB_TOKEN: 'another-git-token',
  KUBERNETES_SERVICE_HOST: '10.0.0.1',
  KUBERNETES_PORT: 'tcp://10.0.0.1:443',
  AWS_SECRET_ACCESS_KEY: 'a-cloud-key',
  DATABASE_URL: 'postgres://user:password@host',
  NODE_OPTIONS: '--require=/tmp/evil.js',
  LD_PRELOAD: '/tmp/evil.so',
  CLAUDE_CONFIG_DIR: '/somebody/elses',
};

t.test('the CLI gets only the needed variables, whatever the container contains', (t) => {
  const inherited = {
    ...secrets,
    PATH: '/bin',
    HOME: '/home/node',
    HTTPS_PROXY: 'http://proxy:3128',
    ANTHROPIC_API_KEY: 'sk-ant-key',
    CLAUDE_CODE_MAX_RETRIES: '2',
    TZ: undefined,
  };
  t.strictSame(cliEnvironment(inherited, '/volume', 'worker-7'), {
    PATH: '/bin',
    HOME: '/home/node',
    CLAUDE_CODE_SESSIONEND_HOOKS_TIMEOUT_MS: '30000',
    HTTPS_PROXY: 'http://proxy:3128',
    ANTHROPIC_API_KEY: 'sk-ant-key',
    CLAUDE_CODE_MAX_RETRIES: '2',
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    CLAUDE_CODE_DISABLE_FILE_MENTIONS: '1',
    DISABLE_AUTOUPDATER: '1',
    DISABLE_TELEMETRY: '1',
    DISABLE_ERROR_REPORTING: '1',
    CLAUDE_CONFIG_DIR: '/volume',
    BERTH_WORKER: 'worker-7',
  });
  t.end();
});

t.test('the CLI gets each documented variable, and the real CLI contains each name', (t) => {
  const inherited = Object.fromEntries(cliVariables.map((name) => [name, '7']));
  t.match(cliEnvironment(inherited, '/volume', 'w'), inherited);
  t.same(ignoredByCli(inherited), []);
  const suspect = cliVariables.filter((name) => /KEY|SECRET|PASSWORD|_FILE|^LD_|^NODE/.test(name));
  t.same(suspect, [], 'none is a secret, a file that is run, or loads code');
  const found = execFileSync('grep', ['-aowF', '-f', '-', realClaude], {
    input: cliVariables.join('\n'),
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
    maxBuffer: 64 * 2 ** 20,
  });
  const known = new Set(found.toString('latin1').split('\n'));
  t.same(
    cliVariables.filter((name) => !known.has(name)),
    [],
  );
  t.end();
});

t.test('variables that look like CLI variables but do not reach the CLI are listed', (t) => {
  const inherited = {
    BASH_MAX_TIMEOUT: '7',
    CLAUDE_ENV_FILE: '/workspace/env.sh',
    MCP_CLIENT_SECRET: 'a-secret',
    CLAUDE_AX_SCREEN_READER: '1',
    DISABLE_TELEMETRY: '0',
  };
  const quiet = {
    DISABLE_ERROR_REPORTING: '1',
    CLAUDECODE: '1',
    CLAUDE_CONFIG_DIR: '/home/node/.claude',
    CLAUDE_SERVICE_HOST: '10.0.0.1',
    MCP_GITHUB_PORT_80_TCP_ADDR: '10.0.0.1',
    BASH_VERSION: '5.2',
    MAX_CONNECTIONS: '5',
    ENABLE_METRICS: '1',
    MCP_TIMEOUT: '',
    ANTHROPIC_MODEL: 'opus',
    CLAUDE_CODE_USE_BEDROCK: '1',
    AWS_REGION: 'eu-central-1',
  };
  const told = ignoredByCli({ ...inherited, ...quiet });
  t.same(
    told.map(({ name }) => name),
    Object.keys(inherited),
  );
  t.match(told[0]?.reason, 'did you mean BASH_MAX_TIMEOUT_MS?');
  const environment = cliEnvironment(inherited, '/volume', 'w');
  t.equal(environment.DISABLE_TELEMETRY, '1');
  t.same(
    Object.keys(inherited).filter((name) => name in environment),
    ['DISABLE_TELEMETRY'],
  );
  t.end();
});

t.test('the credentials of AWS reach the CLI with each of the services that it has there', (t) => {
  const aws = {
    AWS_REGION: 'eu-central-1',
    AWS_SECRET_ACCESS_KEY: 'x',
    ANTHROPIC_AWS_API_KEY: 'y',
  };
  for (const service of ['BEDROCK', 'MANTLE', 'ANTHROPIC_AWS']) {
    const inherited = { ...aws, [`CLAUDE_CODE_USE_${service}`]: '1' };
    t.match(cliEnvironment(inherited, '/volume', 'w'), inherited, service);
    const own = cliEnvironment(inherited, '/volume', 'w', { ANTHROPIC_API_KEY: 'its-own' });
    t.notMatch(own, { ANTHROPIC_AWS_API_KEY: 'y' }, 'but not a profile with a login of its own');
  }
  t.end();
});

t.test('the real CLI does as they say', async (t) => {
  const surroundings = await makeSurroundings(t, { 'settings.json': bashAllowed });
  const asked = async (text: string, variables: Record<string, string>) => {
    const inherited = { ...surroundings.inherited, ...variables };
    const { result } = await startProcess(t, { ...surroundings, inherited }).run(text);
    const request = surroundings.api.requests.findLast((each) => promptText(each) === text);
    return { result, body: JSON.stringify(request?.body) };
  };
  const usual = await asked('[[say usual]]', {});
  t.match(usual.body, 'cache_control');
  const hangs = '[[tool Bash {"command":"tail -f /dev/null"}]]';
  const told = { DISABLE_PROMPT_CACHING: '1', BASH_DEFAULT_TIMEOUT_MS: '1000' };
  const { body, result } = await asked(hangs, told);
  t.notMatch(body, 'cache_control');
  t.match(result, /timed? ?out|timeout|background/i, 'its command was cut after a second');
});

t.test('a process whose profile has a login gets none of the container', (t) => {
  const inherited = {
    ANTHROPIC_API_KEY: 'sk-ant-key',
    CLAUDE_CODE_USE_BEDROCK: '1',
    AWS_REGION: 'eu-central-1',
    AWS_SECRET_ACCESS_KEY: 'a-cloud-key',
    ANTHROPIC_BASE_URL: 'https://gateway.example.org',
  };
  const given = (profile: Record<string, string>) => {
    const environment = cliEnvironment(inherited, '/volume', 'w', profile);
    return Object.keys(inherited).filter((name) => name in environment);
  };
  t.same(given({}), Object.keys(inherited), 'those of its cloud too');
  t.same(given({ CLAUDE_CODE_OAUTH_TOKEN: 'x' }), ['ANTHROPIC_BASE_URL']);
  const own = { CLAUDE_CODE_USE_BEDROCK: '1', AWS_SECRET_ACCESS_KEY: 'its-own', AWS_REGION: 'x' };
  const environment = cliEnvironment(inherited, '/volume', 'w', own);
  t.match(environment, { ...own, ANTHROPIC_API_KEY: undefined });
  t.same(
    given({ CLAUDE_CODE_USE_BEDROCK: '1' }),
    Object.keys(inherited).slice(1),
    'the role of the pod, where the profile names none',
  );
  t.end();
});

t.test('the container cannot switch off the variables that keep the CLI quiet', (t) => {
  const inherited = { CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '0', DISABLE_TELEMETRY: '' };
  t.match(cliEnvironment(inherited, '/volume', 'w'), {
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    CLAUDE_CODE_DISABLE_FILE_MENTIONS: '1',
    DISABLE_TELEMETRY: '1',
  });
  t.end();
});

t.test('without HOME, the CLI gets a HOME that does not exist, to prevent a crash', (t) => {
  t.equal(cliEnvironment({}, '/volume', 'w').HOME, '/nonexistent');
  t.end();
});

t.test('the environment of the real process holds none of the secrets', async (t) => {
  const surroundings = await makeSurroundings(t);
  Object.assign(surroundings.inherited, secrets);
  const child = startProcess(t, surroundings);
  await child.control({ subtype: 'initialize' });
  const environment = readFileSync(`/proc/${child.pid}/environ`, 'utf8').split('\0');
  for (const [name, value] of Object.entries(secrets)) {
    t.notOk(environment.includes(`${name}=${value}`), name);
  }
  const ours = environment.filter((entry) => /^(BERTH|KUBERNETES)_/.test(entry));
  t.same(ours, ['BERTH_WORKER=worker-1']);
  t.ok(environment.includes(`CLAUDE_CONFIG_DIR=${surroundings.config}`));
});
