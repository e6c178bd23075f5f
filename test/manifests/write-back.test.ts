/** The component write-back on the base: who bears a token, what it may do, and that all fits. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Container, PodSpec, Secret, Service, Volume } from 'kubernetes-types/core/v1.js';
import type { Role, RoleBinding } from 'kubernetes-types/rbac/v1.js';
import t, { type Test } from 'tap';
import { parseAllDocuments } from 'yaml';
import { readInitConfig } from '../../init/config.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { liveKeys } from '../../shared/credentials-memory.ts';
import { readWriteBackConfig } from '../../supervisor/config.ts';

const manifests = join(import.meta.dirname, '../../manifests');

/** Components need kustomize 2.1. In CI a missing kubectl is a failure, not a reason to test less. */
function cannotRender(): string | false {
  if (process.env.CI === 'true') return false;
  try {
    const options = { stdio: 'pipe', encoding: 'utf8' } as const;
    const output = execFileSync('kubectl', ['version', '--client', '-o', 'json'], options);
    return JSON.parse(output).kustomizeVersion ? false : 'kubectl is older than 1.21';
  } catch {
    return 'kubectl is not installed';
  }
}

function renderWriteBack(t: Test) {
  const directory = t.testdir({});
  const from = (path: string) => relative(directory, join(manifests, path));
  writeFileSync(
    join(directory, 'kustomization.yaml'),
    `namespace: claude\nresources: [${from('base')}]\ncomponents: [${from('components/write-back')}]\n`,
  );
  const text = execFileSync('kubectl', ['kustomize', directory], { encoding: 'utf8' });
  const all = parseAllDocuments(text, { version: '1.1' }).map((document) => document.toJS());
  const find = <T>(kind: string, name: string): T => {
    const found = all.find((each) => each?.kind === kind && each.metadata.name === name);
    if (!found) throw new Error(`there is no ${kind} ${name}`);
    return found;
  };
  const pod = find<{ spec: { template: { spec: PodSpec } } }>('Deployment', 'berth').spec.template
    .spec;
  const containers = [...(pod.initContainers ?? []), ...pod.containers];
  const container = (name: string): Container => {
    const found = containers.find((each) => each.name === name);
    if (!found) throw new Error(`there is no container ${name}`);
    return found;
  };
  return { find, pod, containers, container };
}

const environmentOf = ({ env = [] }: Container) =>
  Object.fromEntries(env.flatMap(({ name, value }) => (value ? [[name, value]] : [])));

const hasToken = ({ projected }: Volume) =>
  projected?.sources?.some(({ serviceAccountToken }) => serviceAccountToken) === true;

t.test('the component write-back', { skip: cannotRender() }, async (t) => {
  const { find, pod, containers, container } = renderWriteBack(t);
  const sidecar = container('write-back');
  const cluster = { KUBERNETES_SERVICE_HOST: '10.0.0.1' };
  const { config } = readWriteBackConfig({ ...environmentOf(sidecar), ...cluster });

  t.test('the token is in the sidecar alone, with its CA and namespace', async (t) => {
    t.match(pod, { serviceAccountName: 'berth-write-back', automountServiceAccountToken: false });
    const volumes = (pod.volumes ?? []).filter(hasToken);
    t.equal(volumes.length, 1);
    const bearers = containers.filter(({ volumeMounts }) =>
      volumeMounts?.some(({ name }) => name === volumes[0]?.name),
    );
    t.same(
      bearers.map(({ name }) => name),
      ['write-back'],
    );
    const mount = sidecar.volumeMounts?.find(({ name }) => name === volumes[0]?.name);
    t.match(mount, { mountPath: config.accountDirectory, readOnly: true });
    const sources = volumes[0]?.projected?.sources ?? [];
    const files = sources.flatMap(({ serviceAccountToken, configMap, downwardAPI }) => [
      ...(serviceAccountToken ? [serviceAccountToken.path] : []),
      ...[...(configMap?.items ?? []), ...(downwardAPI?.items ?? [])].map(({ path }) => path),
    ]);
    t.same(files.sort(), ['ca.crt', 'namespace', 'token']);
  });

  t.test('it may get and patch the live Secret, and nothing else', async (t) => {
    const role = find<Role>('Role', 'berth-write-back');
    t.same(role.rules, [
      {
        apiGroups: [''],
        resources: ['secrets'],
        resourceNames: [config.secret.name],
        verbs: ['get', 'patch'],
      },
    ]);
    const binding = find<RoleBinding>('RoleBinding', 'berth-write-back');
    t.match(binding.roleRef, { kind: 'Role', name: 'berth-write-back' });
    t.same(binding.subjects, [
      { kind: 'ServiceAccount', name: pod.serviceAccountName, namespace: 'claude' },
    ]);
  });

  t.test('the live Secret is there, with nothing that an apply would put back', async (t) => {
    const secret = find<Secret>('Secret', config.secret.name);
    t.notOk(secret.data ?? secret.stringData ?? secret.immutable);
    const person = pod.volumes?.find(({ name }) => name === 'login')?.secret?.secretName;
    t.not(config.secret.name, person);
  });

  t.test('init reads it where it is mounted, before the sidecar starts', async (t) => {
    const init = container('init');
    const { BERTH_GIT_TOKEN_FILE: _, ...environment } = environmentOf(init);
    const read = readInitConfig({ ...environment, BERTH_REPO: 'me/dot-claude' }).config;
    const mount = init.volumeMounts?.find(({ name }) => name === 'live');
    t.equal(read.credentialsLiveSource, `${mount?.mountPath}/${liveKeys.login}`);
    const volume = pod.volumes?.find(({ name }) => name === 'live');
    t.match(volume?.secret, { secretName: config.secret.name, optional: true });
    t.same(
      pod.initContainers?.map(({ name }) => name),
      ['init', 'write-back'],
    );
  });

  t.test('the sidecar ends last, can only read the volume, and is confined', async (t) => {
    t.match(sidecar, { restartPolicy: 'Always', args: ['write-back'] });
    t.equal(sidecar.image, `berth-runtime:${packageJson.version}`);
    const mount = sidecar.volumeMounts?.find(
      ({ mountPath }) => mountPath === config.configDirectory,
    );
    t.match(mount, { name: 'claude', readOnly: true });
    t.same(sidecar.securityContext, container('runtime').securityContext);
    t.same(sidecar.envFrom, container('runtime').envFrom);
    t.ok((pod.terminationGracePeriodSeconds ?? 0) >= 93 + 10);
    const ports = find<Service>('Service', 'berth').spec?.ports ?? [];
    t.same(sidecar.ports, [{ name: 'write-back', containerPort: config.listen.port }]);
    t.ok(ports.some(({ targetPort }) => targetPort === 'write-back'));
    t.match(sidecar.livenessProbe?.httpGet, { path: '/livez', port: 'write-back' });
  });
});
