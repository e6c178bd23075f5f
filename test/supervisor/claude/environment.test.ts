import { readFileSync } from 'node:fs';
import t from 'tap';
import { cliEnvironment } from '../../../supervisor/claude/environment.ts';
import { makeSurroundings, startProcess } from '../../support/claude.ts';

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

t.test('only what the CLI needs reaches it, whatever the container holds', (t) => {
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
    HTTPS_PROXY: 'http://proxy:3128',
    ANTHROPIC_API_KEY: 'sk-ant-key',
    CLAUDE_CODE_MAX_RETRIES: '2',
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    DISABLE_AUTOUPDATER: '1',
    DISABLE_TELEMETRY: '1',
    DISABLE_ERROR_REPORTING: '1',
    CLAUDE_CONFIG_DIR: '/volume',
    BERTH_WORKER: 'worker-7',
  });
  t.end();
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

t.test('what keeps the CLI quiet cannot be switched off by the container', (t) => {
  const inherited = { CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '0', DISABLE_TELEMETRY: '' };
  t.match(cliEnvironment(inherited, '/volume', 'w'), {
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    DISABLE_TELEMETRY: '1',
  });
  t.end();
});

t.test('without a HOME the CLI gets one that does not exist, for it would crash', (t) => {
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
