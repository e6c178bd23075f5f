/** `berth doctor` in the container of `berth write-back`, which has other settings and mounts. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text as readText } from 'node:stream/consumers';
import t, { type Test } from 'tap';
import { type Diagnosis, diagnose } from '../../../supervisor/doctor/doctor.ts';
import { isWriteBackContainer } from '../../../supervisor/doctor/sidecar.ts';
import { canChangeUser } from '../../init/process.ts';
import { testDirectory } from '../../support/directory.ts';
import { startKubernetesApi } from '../../support/kubernetes-api.ts';
import { startLoginServer } from '../../support/login-server.ts';

t.jobs = 2;

/** As the component has it: the ConfigMap of all containers, the Secret's name, the volume, a token. */
async function prepare(t: Test) {
  const directory = testDirectory(t, { config: { '.berth': {} }, account: { namespace: 'home' } });
  const api = await startKubernetesApi();
  t.teardown(() => api.close());
  api.allow('home/berth-live', ['get', 'patch']);
  api.secrets.put('home', 'berth-live', {});
  const server = await startLoginServer();
  t.teardown(() => server.close());
  const config = join(directory, 'config');
  const account = join(directory, 'account');
  writeFileSync(join(config, '.credentials.json'), server.login());
  writeFileSync(join(account, 'token'), api.token);
  copyFileSync(api.ca, join(account, 'ca.crt'));
  const { hostname, port } = new URL(api.url);
  const environment: Record<string, string> = {
    PATH: process.env.PATH ?? '',
    HOME: directory,
    BERTH_REPO: 'you/dot-claude',
    BERTH_CONFIG_DIR: config,
    BERTH_WRITE_BACK_SECRET: 'berth-live',
    BERTH_KUBERNETES_ACCOUNT_DIR: account,
    KUBERNETES_SERVICE_HOST: hostname,
    KUBERNETES_SERVICE_PORT: port,
    // Everything of the internet fails by this.
    HTTPS_PROXY: 'http://127.0.0.1:9',
  };
  return { environment, config, account, api, server };
}

async function diagnosed(environment: Record<string, string>) {
  const { diagnosis, exitCode } = await diagnose(environment);
  const of = (check: string) => diagnosis.findings.filter((each) => each.check === check);
  return { diagnosis, exitCode, of };
}

t.test(
  'in the sidecar, nothing that only the supervisor needs is reported as missing',
  async (t) => {
    const { environment } = await prepare(t);
    const { diagnosis, exitCode, of } = await diagnosed(environment);
    const bad = diagnosis.findings.filter(({ status }) => !['ok', 'n/a'].includes(status));
    t.same([exitCode, diagnosis.ok, bad], [0, true, []]);
    for (const check of [
      ...['login', 'cli', 'memory', 'egress', 'claude-settings', 'commands'],
      ...['callbacks', 'server'],
    ]) {
      t.match(of(check), [
        { status: 'n/a', detail: /not checked: this is the write-back container/ },
      ]);
      t.equal(of(check).length, 1);
    }
    t.match(of('settings'), [{ status: 'ok' }]);
    t.match(of('volume'), [{ detail: /it can be read/ }, { detail: 'the login file can be read' }]);
    t.match(of('write-back'), [{ status: 'ok', subject: 'home/berth-live' }]);
  },
);

t.test(
  'a volume that it may only read is right',
  { skip: !canChangeUser && 'needs root and setpriv' },
  async (t) => {
    const { environment, config, account } = await prepare(t);
    chmodSync(config, 0o755);
    chmodSync(join(config, '.berth'), 0o700);
    chmodSync(join(config, '.credentials.json'), 0o644);
    chmodSync(account, 0o755);
    // What tap has every Node.js write at its exit is root's.
    const clean = ['env', '-u', 'NODE_OPTIONS', process.execPath];
    const command = ['--reuid=1000', '--regid=1000', '--clear-groups', ...clean];
    const program = join(import.meta.dirname, '../../../dist/berth.mjs');
    const child = spawn('setpriv', [...command, program, 'doctor', '--json'], { env: environment });
    const [[code], output, error] = await Promise.all([
      once(child, 'exit'),
      readText(child.stdout),
      readText(child.stderr),
    ]);
    const { findings } = JSON.parse(output) as Diagnosis;
    t.same(
      findings.filter(({ status }) => status === 'failed' || status === 'warning'),
      [],
    );
    t.equal(code, 0, error);
  },
);

t.test(
  'in the sidecar, each missing requirement of write-back is reported with its remedy',
  async (t) => {
    const { environment, config, account, api, server } = await prepare(t);
    api.allow('home/berth-live', []);
    writeFileSync(join(config, '.credentials.json'), server.login().slice(0, 40));
    const forbidden = await diagnosed(environment);
    t.equal(forbidden.exitCode, 77);
    t.match(forbidden.of('write-back'), [{ status: 'failed', remedy: /get and patch/ }]);
    t.match(forbidden.of('volume')[1], { status: 'warning', detail: /is torn/, remedy: /doctor/ });

    rmSync(join(account, 'token'));
    const tokenless = await diagnosed(environment);
    t.match(tokenless.of('write-back'), [
      { status: 'failed', detail: /no Kubernetes token/, remedy: /mount the token/ },
    ]);

    const wrong = await diagnosed({
      ...environment,
      BERTH_WRITE_BACK_SECRET: 'No Secret!',
      BERTH_CONFIG_DIR: '/nowhere/at/all',
    });
    t.equal(wrong.exitCode, 64);
    t.match(wrong.of('settings'), [{ status: 'failed', detail: /BERTH_WRITE_BACK_SECRET/ }]);
    t.match(wrong.of('volume'), [{ status: 'failed', remedy: /mount the volume/ }]);
  },
);

t.test('a supervisor with the name of the Secret is not taken for the sidecar', (t) => {
  const secret = { BERTH_WRITE_BACK_SECRET: 'berth-live', KUBERNETES_SERVICE_HOST: '10.0.0.1' };
  t.ok(isWriteBackContainer(secret));
  t.notOk(isWriteBackContainer({ ...secret, BERTH_API_TOKENS_FILE: '/secrets/api-tokens' }));
  t.notOk(isWriteBackContainer({ BERTH_WRITE_BACK_SECRET: 'berth-live' }));
  t.notOk(isWriteBackContainer({ KUBERNETES_SERVICE_HOST: '10.0.0.1' }));
  t.end();
});
