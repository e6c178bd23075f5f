/**
 * A login's way through the bundles and the real CLI: from a person's Secret to the volume, refreshed,
 * written back, and from the live Secret to the next volume.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { digestOf } from '../../../shared/digest.ts';
import { cliEnvironment } from '../../../supervisor/claude/environment.ts';
import { openHarbour } from '../../init/fixture.ts';
import { login, mountAccount } from '../../supervisor/write-back/fixture.ts';
import { realClaude, surroundingsIn } from '../../support/claude.ts';
import { testDirectory } from '../../support/directory.ts';
import { startKubernetesApi } from '../../support/kubernetes-api.ts';
import { useLogin } from '../../support/logged-in.ts';
import { startLoginServer } from '../../support/login-server.ts';
import { startMessagesApi } from '../../support/messages-api.ts';
import { type Program, startProgram } from '../../support/programs.ts';
import { until } from '../../support/until.ts';

t.jobs = 2;

async function openCluster(t: Test, directory: string) {
  const api = await startKubernetesApi();
  t.teardown(() => api.close());
  const account = join(directory, 'account');
  mountAccount(account, api);
  api.secrets.put('berth', 'berth-live', {});
  api.allow('berth/berth-live', ['get', 'patch']);
  const { hostname, port } = new URL(api.url);
  const environment = {
    BERTH_WRITE_BACK_SECRET: 'berth-live',
    BERTH_WRITE_BACK_LISTEN: '127.0.0.1:0',
    BERTH_KUBERNETES_ACCOUNT_DIR: account,
    KUBERNETES_SERVICE_HOST: hostname,
    KUBERNETES_SERVICE_PORT: port,
    // The API server is asked directly.
    HTTPS_PROXY: 'http://127.0.0.1:9',
  };
  return {
    api,
    live: (key = 'credentials.json') =>
      Buffer.from(api.secrets.get('berth', 'berth-live').data?.[key] ?? '', 'base64').toString(),
    writeBack(volume: string, more: Record<string, string> = {}): Program {
      const program = startProgram('serve', {
        arguments: ['write-back'],
        environment: { ...environment, BERTH_CONFIG_DIR: volume, ...more },
      });
      t.teardown(() => program.kill('SIGKILL'));
      return program;
    },
  };
}

t.test(
  'a login survives the loss of the volume until a person provides another login',
  async (t) => {
    const harbour = await openHarbour(t);
    const { directory, volume } = harbour;
    const cluster = await openCluster(t, directory);
    const server = await startLoginServer();
    t.teardown(() => server.close());
    const messages = await startMessagesApi();
    t.teardown(() => messages.close());
    const surroundings = { ...surroundingsIn(directory, messages), config: volume };
    useLogin(surroundings, server);
    const source = join(directory, 'secrets/credentials.json');
    const onVolume = () => readFileSync(join(volume, '.credentials.json'), 'utf8');
    let output = '';

    /** Another pod: the live Secret as the kubelet mounts it now, and init. */
    async function init() {
      const mounted = join(directory, 'live');
      rmSync(mounted, { recursive: true, force: true });
      mkdirSync(join(mounted, '..1'), { recursive: true });
      symlinkSync('..1', join(mounted, '..data'));
      for (const key of Object.keys(cluster.api.secrets.get('berth', 'berth-live').data ?? {})) {
        writeFileSync(join(mounted, '..1', key), cluster.live(key));
        symlinkSync(`..data/${key}`, join(mounted, key));
      }
      const environment = harbour.environment({
        BERTH_CREDENTIALS_LIVE_SOURCE: join(mounted, 'credentials.json'),
      });
      const program = startProgram('init', { environment });
      t.equal(await program.ended, 0, program.output);
      output += program.output;
      return program.lines.find(({ event }) => /^credentials_(applied|kept)$/.test(event));
    }

    /** The token is always about to end, so every turn refreshes the login. */
    async function turn() {
      const env = cliEnvironment(surroundings.inherited, volume, 'one');
      const options = { env, cwd: surroundings.workspace };
      const running = promisify(execFile)(realClaude, ['-p', '[[say hello]]'], options);
      running.child.stdin?.end();
      t.match((await running).stdout, 'hello');
    }

    const logins = { lifetime: 60_000 };
    writeFileSync(source, server.login(logins));
    t.match(await init(), { from: 'source' });
    const first = cluster.writeBack(volume);
    await until('the login is there', () => cluster.live() === onVolume());
    t.equal(cluster.live('source-digest'), digestOf(readFileSync(source, 'utf8')));

    await turn();
    t.not(onVolume(), readFileSync(source, 'utf8'));
    const refreshed = JSON.parse(onVolume()).claudeAiOauth;
    await until('the refreshed one is there', () =>
      cluster.live().includes(refreshed.refreshToken),
    );
    t.same(JSON.parse(cluster.live()), { claudeAiOauth: refreshed }, 'all of its fields are known');
    first.kill('SIGTERM');
    t.equal(await first.ended, 0);

    rmSync(volume, { recursive: true });
    mkdirSync(volume);
    t.match(await init(), { from: 'live' });
    const before = server.requests.length;
    await turn();
    t.ok(server.requests.length > before, 'the refresh token that came back is good');
    t.ok(server.requests.every(({ outcome }) => outcome === 'refreshed'));
    const second = cluster.writeBack(volume);
    const token = JSON.parse(onVolume()).claudeAiOauth.refreshToken;
    await until('that one is there', () => cluster.live().includes(token));
    second.kill('SIGTERM');
    t.equal(await second.ended, 0);

    writeFileSync(source, server.login(logins));
    rmSync(volume, { recursive: true });
    mkdirSync(volume);
    t.match(await init(), { from: 'source' });
    t.equal(onVolume(), readFileSync(source, 'utf8'));
    const third = cluster.writeBack(volume);
    await until('it is there', () => cluster.live() === onVolume());
    t.equal(cluster.live('source-digest'), digestOf(readFileSync(source, 'utf8')));
    await turn();
    third.kill('SIGTERM');
    t.equal(await third.ended, 0);
    t.match(cluster.live(), JSON.parse(onVolume()).claudeAiOauth.refreshToken);
    t.ok(server.logins.all.every(({ revoked }) => !revoked));
    output += first.output + second.output + third.output;
    t.notMatch(output, /oat01|ort01|a-service-account-token/);
  },
);

t.test('write-back that is killed or stopped', async (t) => {
  const directory = testDirectory(t, { volume: {} });
  const volume = join(directory, 'volume');
  const cluster = await openCluster(t, directory);
  const credentials = join(volume, '.credentials.json');
  writeFileSync(credentials, login('one'));
  cluster.api.fault({ kind: 'hang', method: 'PATCH' });
  const killed = cluster.writeBack(volume);
  await until('it writes', () => cluster.api.requests.some(({ method }) => method === 'PATCH'));
  killed.kill('SIGKILL');
  await killed.ended;
  cluster.api.fault(undefined);
  const again = cluster.writeBack(volume);

  await t.test('killed in the middle of a write, it is as good as never started', async (t) => {
    await until('it is written', () => cluster.live() === login('one'));
    const { metrics_address: origin } = await again.logged('listening');
    t.equal(await (await fetch(`${origin}/livez`)).text(), 'ok\n');
    const metrics = await (await fetch(`${origin}/metrics`)).text();
    for (const name of [
      'success_timestamp_seconds',
      'pending',
      'failures_total{reason="conflict"}',
    ]) {
      t.match(metrics, `\nberth_write_back_${name} `);
    }
    t.notMatch(metrics, /made-up/);
  });

  await t.test('on SIGTERM, write-back writes the pending login before the exit', async (t) => {
    cluster.api.fault({ kind: 'status', status: 500 });
    writeFileSync(credentials, login('two'));
    await again.logged('write_back_failed');
    again.kill('SIGTERM');
    const { length } = cluster.api.requests;
    await until('it tries', () => cluster.api.requests.length > length + 1);
    cluster.api.fault(undefined);
    t.equal(await again.ended, 0, again.output);
    t.equal(cluster.live(), login('two'));
  });
});

t.test(
  'a second signal ends write-back at once, and the termination log names the lost login',
  async (t) => {
    const directory = testDirectory(t, { volume: {}, 'termination-log': '' });
    const volume = join(directory, 'volume');
    const cluster = await openCluster(t, directory);
    writeFileSync(join(volume, '.credentials.json'), login('one'));
    cluster.api.fault({ kind: 'hang' });
    const terminationLog = join(directory, 'termination-log');
    const program = cluster.writeBack(volume, { BERTH_TERMINATION_LOG: terminationLog });
    await until('it is asking', () => cluster.api.requests.length > 0);
    program.kill('SIGTERM');
    program.kill('SIGINT');
    t.equal(await program.ended, 69, program.output);
    t.match(
      readFileSync(terminationLog, 'utf8'),
      /^cannot write the last login back: .*log in again/,
    );
  },
);

t.test('without settings, write-back lists every missing setting', async (t) => {
  const program = startProgram('serve', {
    arguments: ['write-back'],
    environment: { BERTH_WRITE_BACK_SECRET: 'Not/A/Name' },
  });
  t.equal(await program.ended, 64);
  t.match(program.output, /BERTH_WRITE_BACK_SECRET: .* expected the name of a Secret such as/);
  t.match(program.output, /KUBERNETES_SERVICE_HOST is required/);
});
