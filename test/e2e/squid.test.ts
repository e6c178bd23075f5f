/**
 * Debian's Squid with the egress proxy's own squid.conf, by the command, the user and the mounts of the
 * rendered component network-policy, on a read-only root without capabilities. It runs in a network of
 * its own, where /etc/hosts, which Squid reads by default, leads the listed names to loopback.
 */
import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { testDirectory } from '../support/directory.ts';
import { all, cannotRender, containerOf, podsOf, renderOverlay } from '../support/manifests.ts';
import type { Outcome } from '../support/squid-client.ts';

const checkout = join(import.meta.dirname, '../..');
const skip = cannotRun();

function cannotRun(): string | false {
  if (process.env.CI === 'true') return false;
  if (cannotRender()) return cannotRender();
  const tried = spawnSync('unshare', ['--net', '--mount', 'squid', '-v']);
  return tried.status === 0 ? false : 'no namespaces, or no squid: run as root, with squid';
}

t.test(
  'the egress proxy tunnels to the listed hosts, and does nothing else',
  { skip },
  async (t) => {
    const directory = testDirectory(t, {});
    const overlay = { resources: ['base'], components: ['network-policy'] };
    const manifests = renderOverlay(join(directory, 'overlay'), overlay);
    const pod = podsOf(manifests).find(({ name }) => name === 'berth-egress-proxy')?.spec;
    if (!pod) throw new Error('there is no pod');
    const { command = [], volumeMounts = [] } = containerOf(pod, 'squid');
    const settings = pod.volumes?.find(({ configMap }) => configMap);
    const files = all(manifests, 'ConfigMap').find(
      ({ metadata }) => metadata?.name === settings?.configMap?.name,
    );
    const mounted = volumeMounts.find(({ name }) => name === settings?.name)?.mountPath ?? '';
    t.match(mounted, /^\/etc\/[\w-]+$/);

    // The /etc of a container: what every program reads, and the ConfigMap.
    const etc = join(directory, 'etc');
    mkdirSync(join(directory, mounted), { recursive: true });
    for (const [name, text] of Object.entries(files?.data ?? {})) {
      writeFileSync(join(directory, mounted, name), text);
    }
    for (const name of ['passwd', 'group', 'nsswitch.conf'])
      copyFileSync(`/etc/${name}`, join(etc, name));
    const names = ['api.anthropic.com', 'gist.github.com', 'elsewhere.example'];
    writeFileSync(join(etc, 'hosts'), names.map((name) => `127.0.0.1 ${name}\n`).join(''));
    writeFileSync(join(etc, 'resolv.conf'), 'nameserver 127.0.0.1\n');
    chmodSync(directory, 0o755);

    const { runAsUser, runAsGroup } = pod.securityContext ?? {};
    const writable = volumeMounts.filter(({ readOnly }) => !readOnly).map((each) => each.mountPath);
    t.same(writable.sort(), ['/dev/shm', '/tmp']);
    // Where this checkout is found though it may lie below /tmp.
    const seen = '/mnt';
    const client = join(import.meta.dirname, '../support/squid-client.ts');
    const program = [process.execPath, client].map((path) => join(seen, relative(checkout, path)));
    const confined = [
      ...['setpriv', `--reuid=${runAsUser}`, `--regid=${runAsGroup}`, '--clear-groups'],
      ...['--bounding-set=-all', '--no-new-privs', ...command],
    ];
    // The tests' own program keeps its rights and its files; Squid finds the container's.
    const surroundings = [
      'ip link set lo up',
      `mount --bind '${etc}' /etc`,
      `mount --bind '${checkout}' ${seen}`,
      ...writable.map((path) => `mount -t tmpfs -o mode=1777 tmpfs ${path}`),
      'mount -o remount,bind,ro /',
      // Those of the test run name files by where they are outside.
      'exec env --unset=NODE_OPTIONS "$@"',
    ].join(' && ');
    const inside = ['--net', '--mount', 'sh', '-c', surroundings, 'sh', ...program, ...confined];
    const { stdout } = await promisify(execFile)('unshare', inside, { timeout: 60_000 });
    const { answers, log } = JSON.parse(stdout) as Outcome;

    t.match(answers.listed, /^HTTP\/1\.1 200 [\s\S]*hello from 443$/);
    for (const refused of [
      answers.elsewhere,
      answers.subdomain,
      answers.otherPort,
      answers.byAddress,
      answers.plainGet,
      answers.plainGetAt443,
    ]) {
      t.match(refused, /^HTTP\/1\.1 403 /);
    }
    t.match(log, /TCP_DENIED\/403 \d+ CONNECT elsewhere\.example:443/);
    t.notMatch(log, /FATAL|ERROR|Permission denied|Read-only/);
  },
);
