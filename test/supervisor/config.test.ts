import t from 'tap';
import { BerthError } from '../../shared/errors.ts';
import { readSupervisorConfig } from '../../supervisor/config.ts';

function failure(environment: Record<string, string>): BerthError {
  try {
    readSupervisorConfig(environment);
  } catch (error) {
    if (error instanceof BerthError) return error;
  }
  throw new Error('it is a right configuration');
}

t.test('without any setting, the defaults match the documentation', (t) => {
  const { config, warnings } = readSupervisorConfig({});
  t.match(config, {
    configDirectory: '/home/node/.claude',
    stateDirectory: '/home/node/.claude/.berth',
    workspaceDirectory: '/workspace',
    httpListen: { host: '::', port: 8080 },
    metricsListen: { host: '::', port: 9090 },
    warmWorkers: 1,
    maxWorkers: 4,
    queueLimit: 100,
    promptTimeout: 280_000,
    drain: 60_000,
    memorySoft: { share: 0.7 },
    workerMemorySoft: { bytes: 2 ** 30 },
  });
  t.equal(config.apiTokensFile, undefined);
  t.equal(config.claudePath, undefined);
  t.same(warnings, []);
  t.end();
});

t.test('all errors are reported at once, each with the expected value', (t) => {
  const { code, exitCode, message, details } = failure({
    KUBERNETES_SERVICE_HOST: '10.0.0.1',
    BERTH_MAX_WORKERS: '2',
    BERTH_WARM_WORKERS: '3',
    BERTH_DRAIN: 'soon',
    BERTH_HTTP_LISTEN: 'port 80',
    BERTH_WORKSPACE_DIR: 'relative',
    BERTH_MEMORY_SOFT: '170%',
  });
  t.equal(code, 'config_invalid');
  t.equal(exitCode, 64);
  t.equal((details.problems as string[]).length, 6);
  t.match(message, /6 settings are wrong; correct the environment/);
  t.match(message, /BERTH_DRAIN: "soon" is not valid, expected a duration from 0ms to 1h/);
  t.match(message, /BERTH_HTTP_LISTEN: "port 80" .* expected an address such as :8080/);
  t.match(message, /BERTH_WORKSPACE_DIR: "relative" .* expected an absolute path/);
  t.match(message, /BERTH_MEMORY_SOFT: "170%" .* expected a share such as 70%/);
  t.match(message, /BERTH_WARM_WORKERS: 3 is above BERTH_MAX_WORKERS \(2\); lower the first/);
  t.match(message, /BERTH_API_TOKENS_FILE is not set/);
  t.end();
});

t.test('under Kubernetes a missing token file is exit 64 with the fix', (t) => {
  const error = failure({ KUBERNETES_SERVICE_HOST: '10.0.0.1' });
  t.equal(error.exitCode, 64);
  t.match(error.message, /berth token n8n.*Secret.*mount/);
  const environment = {
    KUBERNETES_SERVICE_HOST: '10.0.0.1',
    BERTH_API_TOKENS_FILE: '/secrets/api',
  };
  t.equal(readSupervisorConfig(environment).config.apiTokensFile, '/secrets/api');
  t.end();
});

t.test('a daily budget is an amount in dollars, and the body of a prompt has a size', (t) => {
  const budget = (text: string) =>
    readSupervisorConfig({ BERTH_DAILY_BUDGET_USD: text }).config.dailyBudget;
  t.equal(budget('0'), 0);
  t.equal(budget('2.50'), 2.5);
  t.equal(budget(''), undefined, 'none is no limit');
  for (const text of ['-1', '$5', '1e3', '1,5', 'NaN', 'Infinity']) {
    const { message } = failure({ BERTH_DAILY_BUDGET_USD: text });
    t.match(message, /expected an amount in US dollars such as 20 or 2\.50/, text);
  }
  const body = (text: string) => failure({ BERTH_MAX_PROMPT_BYTES: text }).message;
  t.match(body('17Mi'), /expected a size from 1Ki to 16Mi/);
  t.match(body('10'), /expected a size/);
  t.end();
});

t.test('as many warm workers as workers are allowed, and none', (t) => {
  const read = (warm: string) =>
    readSupervisorConfig({ BERTH_WARM_WORKERS: warm, BERTH_MAX_WORKERS: '2' }).config.warmWorkers;
  t.equal(read('2'), 2);
  t.equal(read('0'), 0);
  t.end();
});

t.test('a misspelt setting causes a warning; variables that Kubernetes injects do not', (t) => {
  const { warnings } = readSupervisorConfig({
    BERTH_WARM_WORKER: '2',
    BERTH_SERVICE_HOST: '10.0.0.1',
    BERTH_PORT_8080_TCP: 'tcp://10.0.0.1:8080',
  });
  t.same(warnings, ['BERTH_WARM_WORKER is not a setting; did you mean BERTH_WARM_WORKERS?']);
  t.end();
});

t.test('callbacks need a secret, and hosts that can be read', (t) => {
  const hosts = { BERTH_CALLBACK_HOSTS: 'n8n.n8n.svc:5678,10.0.0.0/8' };
  t.match(
    failure(hosts).message,
    /BERTH_CALLBACK_HOSTS is set without BERTH_WEBHOOK_SECRET_FILE.*`berth token --webhook`/,
  );
  const secret = { BERTH_WEBHOOK_SECRET_FILE: '/secrets/webhook/secret' };
  t.ok(
    readSupervisorConfig({ ...hosts, ...secret }).config.callbackHosts.allows('n8n.n8n.svc', 5678),
  );
  t.match(
    failure({ ...secret, BERTH_CALLBACK_HOSTS: 'http://n8n' }).message,
    /BERTH_CALLBACK_HOSTS: "http:\/\/n8n" is not valid, expected names, suffixes and networks/,
  );
  t.end();
});
