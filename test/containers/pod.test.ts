/**
 * The pod of manifests/base in containers: the real images and CLI, confined as the manifests say. The
 * tests follow one another on one volume, as the pods of a deployment do.
 */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Container, PodSpec } from '../../scripts/containers/pod.ts';
import { version as berthVersion } from '../../shared/version.ts';
import type { Diagnosis } from '../../supervisor/doctor/doctor.ts';
import { realClaude } from '../support/claude.ts';
import { settingsFor, startTarballServer, tarball } from '../support/cli-tarball.ts';
import { containerOf, podsOf, renderOverlay } from '../support/manifests.ts';
import { until } from '../support/until.ts';
import { type Pod, Surroundings } from './pod.ts';
import { cannotRun, images, imageWithClaude } from './podman.ts';

const skip = cannotRun();
/** How many processes of the CLI come and go; a soak takes more. */
const endings = Number(process.env.BERTH_TEST_ENDINGS ?? 6);
const busy = '[[slow 400]] [[say done all the same]]';

t.setTimeout(900_000);

const zombies = async (pod: Pod) =>
  (await pod.processes()).filter(({ state }) => state.startsWith('Z'));

t.test('a pod of both images works on one volume', { skip }, async (t) => {
  const around = await Surroundings.open(t);
  const volume = join(around.directory, 'claim-berth');
  const withClaude = await imageWithClaude(t, images.runtime, '/usr/local/bin/claude');
  const pod = around.pod(t, { runtimeImage: withClaude });

  await t.test('init as uid 1000 prepares a volume of fsGroup 1000', async (t) => {
    const { code, lines } = await pod.init();
    t.equal(code, 0, JSON.stringify(lines.at(-1)));
    t.match(lines.at(-1), { event: 'report', volume: 'empty', written: 2 });
    t.match(statSync(join(volume, 'CLAUDE.md')), { uid: 1000, gid: 1000 });
    t.match((await pod.init()).lines.at(-1), { event: 'report', written: 0, cli: undefined });
  });

  await t.test('init with a wrong token ends with 77 and a termination message', async (t) => {
    const other = around.pod(t, { secrets: { 'berth-git': { token: 'wrong-token-0123' } } });
    const settings = { BERTH_ON_REMOTE_FAILURE: 'fail' };
    const { code } = await other.init(settings);
    t.equal(code, 77);
    t.match(other.terminationMessage(), /^cannot read .*401.*BERTH_GIT_TOKEN/);
  });

  let session = '';
  await t.test('the runtime answers, and is confined', async (t) => {
    await pod.start();
    await pod.answers('readyz');
    const look =
      "grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; touch /x /usr/x; touch ~/.a ~/a /tmp/a /workspace/a && echo written";
    const { status, body } = await pod.prompt(`[[tool Bash ${JSON.stringify({ command: look })}]]`);
    t.equal(status, 200, JSON.stringify(body));
    for (const expected of [
      /Uid:\s+1000\s+1000/,
      /CapEff:\s+0000000000000000/,
      /CapBnd:\s+0000000000000000/,
      /NoNewPrivs:\s+1/,
      /Seccomp:\s+2/,
      /'\/x': Read-only file system/,
      /'\/usr\/x': Read-only file system/,
      /written/,
    ]) {
      t.match(body.result, expected);
    }
    session = body.session_id;
    t.match((await pod.processes())[0], { pid: 1, command: /^tini -- node .*berth\.mjs serve/ });
  });

  await t.test('berth doctor in the pod reports no failure except egress', async (t) => {
    const { code, stdout } = await pod.exec('berth', 'doctor', '--json');
    const { version, findings } = JSON.parse(stdout) as Diagnosis;
    t.equal(version, berthVersion);
    const failures = findings.filter(({ status }) => status === 'failed');
    t.strictSame(
      failures.filter(({ check }) => check !== 'egress'),
      [],
    );
    t.equal(code, failures.length > 0 ? 69 : 0, 'no name of the internet may be known here');
    for (const check of ['settings', 'volume', 'cli', 'memory']) {
      t.ok(
        findings.some((finding) => finding.check === check && finding.status === 'ok'),
        check,
      );
    }
  });

  await t.test(
    'a second pod on the same volume waits until the first pod has stopped',
    async (t) => {
      const second = around.pod(t, { runtimeImage: withClaude });
      await second.start();
      await until('it waits', async () => (await second.lines('lease_waiting')).length > 0);
      t.notOk(await second.probe('readyz'));
      t.equal((await pod.prompt('hello')).status, 200, 'the first goes on');
      t.equal(await pod.stop(), 0);
      await second.answers('readyz');
      const { status, body } = await second.prompt('do you remember?', { session_id: session });
      t.match({ status, session: body.session_id }, { status: 200, session }, 'the same volume');
      t.equal(await second.stop(), 0);
      await pod.restart();
    },
  );

  await t.test('the CLI is killed in the middle of a turn: the prompt is answered', async (t) => {
    let killed = false;
    around.model.reply((request) =>
      !killed && isBusy(request) ? { text: 'begun', ending: 'hang stream' } : undefined,
    );
    const asked = pod.prompt(busy);
    await around.model.waitForRequest(isBusy);
    const workers = (await pod.processes()).filter(({ command }) => command.startsWith('claude '));
    killed = true;
    for (const { hostPid } of workers) killIfThere(hostPid);
    t.ok(workers.length > 0);
    t.match(await asked, { status: 200, body: { recycled: true } });
    around.model.reply(undefined);
  });

  await t.test('a leak is recycled below the limit, and the container lives on', async (t) => {
    const leak = 'node -e "const a = []; setInterval(() => a.push(Buffer.alloc(2e7, 1)), 50)"';
    const before = (await pod.lines('worker_recycled')).length;
    await pod.prompt(`[[tool Bash ${JSON.stringify({ command: leak })}]]`, { timeout: '120s' });
    const recycled = (await pod.lines('worker_recycled')).slice(before);
    t.ok(
      recycled.some(({ reason }) => /memory/.test(String(reason))),
      JSON.stringify(recycled),
    );
    t.equal(await pod.kernelKills(), 0);
    t.match(await pod.prompt('and now?'), { status: 200 });
  });

  await t.test(`${endings} processes of the CLI end and leave no zombie`, async (t) => {
    const before = (await pod.lines('worker_recycled')).length;
    const orphan = '(setsid sleep 0.1 &); (sleep 0.1 &); true';
    for (let ending = 0; ending < endings; ending++) {
      const { body } = await pod.prompt(`[[tool Bash ${JSON.stringify({ command: orphan })}]]`);
      t.equal((await pod.call('DELETE', `/v1/sessions/${body.session_id}`)).status, 204);
    }
    await until('there is none', async () => (await zombies(pod)).length === 0);
    const ended = (await pod.lines('worker_recycled')).length - before;
    t.ok(ended >= endings, `${ended} have ended`);
  });

  await t.test('a tool with neither environment nor session ends with its worker', async (t) => {
    // The second sleep gives berth the time to see the first one below its worker.
    const hidden = 'env -i setsid sleep 4711 > /dev/null 2>&1 & sleep 10';
    const { body } = await pod.prompt(`[[tool Bash ${JSON.stringify({ command: hidden })}]]`);
    const sleeps = async () =>
      (await pod.processes()).filter(({ command }) => command.endsWith('sleep 4711')).length;
    t.equal(await sleeps(), 1, 'it outlives its turn');
    t.equal((await pod.call('DELETE', `/v1/sessions/${body.session_id}`)).status, 204);
    await until('it is gone', async () => (await sleeps()) === 0);
  });

  await t.test('a killed supervisor ends its container, and its sessions continue', async (t) => {
    const supervisor = (await pod.processes()).find(({ command }) => /^node .*serve/.test(command));
    process.kill(supervisor?.hostPid ?? 0, 'SIGKILL');
    t.equal(await pod.exitCode(), 137);
    await pod.restart();
    const answered = await pod.prompt('still there?', { session_id: session });
    t.match(answered, { status: 200, body: { session_id: session } });
    await until('no zombie is left', async () => (await zombies(pod)).length === 0);
  });

  await t.test('stop lets a turn finish', async (t) => {
    const before = around.model.requests.length;
    const asked = pod.prompt(busy);
    await around.model.waitForRequest(
      (request) => isBusy(request) && around.model.requests.indexOf(request) >= before,
    );
    t.equal(await pod.stop(), 0);
    t.match(await asked, { status: 200, body: { result: 'done all the same' } });
  });

  await t.test('init as root gives a volume of root away, with three capabilities', async (t) => {
    const path = around.claim('berth', 0o755, 0);
    const overlay = { resources: ['base'], components: ['root-ownership'] };
    const rendered = renderOverlay(join(around.directory, 'root-ownership'), overlay);
    const [security] = podsOf(rendered).map(
      ({ spec }) => containerOf(spec, 'init').securityContext,
    );
    const asRoot =
      (capabilities = security?.capabilities) =>
      ({ initContainers: [init] = [] }: PodSpec) =>
        Object.assign(init ?? {}, { securityContext: { ...security, capabilities } });
    const helpless = around.pod(t, { patch: asRoot({ drop: ['ALL'] }) });
    t.equal((await helpless.init()).code, 73);
    t.match(helpless.terminationMessage(), /CHOWN, DAC_OVERRIDE and FOWNER/);
    const able = around.pod(t, { patch: asRoot() });
    for (const owned of [/./, /^0$/]) {
      const { code, lines } = await able.init();
      t.equal(code, 0, JSON.stringify(lines.at(-1)));
      t.match(String(lines.at(-1)?.owned), owned);
    }
    for (const name of ['', 'CLAUDE.md', '.berth', 'lost+found']) {
      t.match(statSync(join(path, name)), { uid: 1000, gid: 1000 }, name);
    }
  });

  await t.test('the published runtime runs the CLI of an image volume', async (t) => {
    const reference = await imageWithClaude(t, 'scratch', '/claude');
    const mounted = around.pod(t, {
      settings: { BERTH_CLAUDE_PATH: '/opt/claude/claude' },
      patch({ volumes = [], containers: [runtime] }) {
        volumes.push({ name: 'cli', image: { reference } });
        const mount = { name: 'cli', mountPath: '/opt/claude', readOnly: true };
        (runtime as Container).volumeMounts?.push(mount);
      },
    });
    t.equal((await mounted.init()).code, 0);
    await mounted.start();
    await mounted.answers('readyz');
    const command = 'touch /opt/claude/claude; readlink /proc/$PPID/exe';
    const tool = await mounted.prompt(`[[tool Bash ${JSON.stringify({ command })}]]`);
    t.match(tool.body.result, /\/opt\/claude\/claude': Read-only file system/);
    t.match(tool.body.result, /^\/opt\/claude\/claude$/m);
    t.equal(await mounted.stop(), 0);
  });

  await t.test('the published runtime runs the CLI that init puts on the volume', async (t) => {
    around.claim('berth', 0o2775, 1000);
    const server = await startTarballServer(t);
    // As it is: to compress 381 MB takes longer than all else here.
    const entry = { path: 'package/claude', mode: 0o755, content: readFileSync(realClaude) };
    const content = tarball([entry], undefined, 0);
    server.files.set('/claude.tgz', content);
    const settings = settingsFor(`${server.url}/claude.tgz`, content);
    const plain = around.pod(t, { settings });
    const { code, lines } = await plain.init();
    t.equal(code, 0, JSON.stringify(lines.at(-1)));
    t.match(lines.at(-1), { event: 'report', cli: 'installed' });
    await plain.start();
    await plain.answers('readyz');
    t.match(await plain.prompt('hello'), { status: 200 });
    const { findings } = JSON.parse((await plain.exec('berth', 'doctor', '--json')).stdout);
    t.match(
      (findings as Diagnosis['findings']).filter(({ check }) => check === 'cli'),
      [{ status: 'ok', subject: /\.berth\/claude\// }],
    );
    t.equal(await plain.stop(), 0);
    t.match((await plain.init()).lines.at(-1), { cli: 'present' });
  });
});

/** A process that was listed may have ended meanwhile. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function isBusy({ body }: { body?: unknown }): boolean {
  return JSON.stringify(body ?? '').includes('done all the same');
}
