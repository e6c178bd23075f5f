/** The component write-back on the base: who bears a token, what it may do, and that all fits. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IRole } from 'kubernetes-models/rbac.authorization.k8s.io/v1/Role';
import type { IRoleBinding } from 'kubernetes-models/rbac.authorization.k8s.io/v1/RoleBinding';
import type { IContainer } from 'kubernetes-models/v1/Container';
import type { ISecret } from 'kubernetes-models/v1/Secret';
import type { IService } from 'kubernetes-models/v1/Service';
import t, { type Test } from 'tap';
import { readInitConfig } from '../../init/config.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { liveKeys } from '../../shared/credentials-memory.ts';
import { readSupervisorConfig, readWriteBackConfig } from '../../supervisor/config.ts';
import { isWriteBackContainer } from '../../supervisor/doctor/sidecar.ts';
import { testDirectory } from '../support/directory.ts';
import {
  cannotRender,
  containerOf,
  containersOf,
  manifestsDirectory,
  podsOf,
  renderOverlay,
} from '../support/manifests.ts';

function renderWriteBack(t: Test) {
  const manifests = renderOverlay(testDirectory(t, {}), {
    ...{ resources: ['base'], components: ['write-back'] },
    more: { namespace: 'claude' },
  });
  const find = <T>(kind: string, name: string): T => {
    const found = manifests.find((each) => each.kind === kind && each.metadata.name === name);
    if (!found) throw new Error(`there is no ${kind} ${name}`);
    return found as unknown as T;
  };
  const [pod] = podsOf(manifests).map(({ spec }) => spec);
  if (!pod) throw new Error('there is no pod');
  return { find, pod, container: (name: string) => containerOf(pod, name) };
}

const environmentOf = ({ env = [] }: IContainer) =>
  Object.fromEntries(env.flatMap(({ name, value }) => (value ? [[name, value]] : [])));

t.test('the component write-back adds a confined sidecar', { skip: cannotRender() }, async (t) => {
  const { find, pod, container } = renderWriteBack(t);
  const sidecar = container('write-back');
  const cluster = { KUBERNETES_SERVICE_HOST: '10.0.0.1' };
  const { config } = readWriteBackConfig({ ...environmentOf(sidecar), ...cluster });

  t.test('the token is in the sidecar alone, with its CA and namespace', async (t) => {
    t.match(pod, { serviceAccountName: 'berth-write-back', automountServiceAccountToken: false });
    const volumes = (pod.volumes ?? []).filter(({ projected }) =>
      projected?.sources?.some(({ serviceAccountToken }) => serviceAccountToken),
    );
    t.equal(volumes.length, 1);
    const bearers = containersOf(pod).filter(({ volumeMounts }) =>
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

  t.test('berth doctor knows which container it is in', async (t) => {
    t.ok(isWriteBackContainer({ ...environmentOf(sidecar), ...cluster }));
    t.notOk(isWriteBackContainer({ ...environmentOf(container('runtime')), ...cluster }));
  });

  t.test('it may get and patch the live Secret, and nothing else', async (t) => {
    const role = find<IRole>('Role', 'berth-write-back');
    t.same(role.rules, [
      {
        apiGroups: [''],
        resources: ['secrets'],
        resourceNames: [config.secret.name],
        verbs: ['get', 'patch'],
      },
    ]);
    const binding = find<IRoleBinding>('RoleBinding', 'berth-write-back');
    t.match(binding.roleRef, { kind: 'Role', name: 'berth-write-back' });
    t.same(binding.subjects, [
      { kind: 'ServiceAccount', name: pod.serviceAccountName, namespace: 'claude' },
    ]);
  });

  t.test('the live Secret is there, with nothing that an apply would put back', async (t) => {
    const secret = find<ISecret>('Secret', config.secret.name);
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
    t.equal(sidecar.resources?.requests?.cpu, '100m');
    t.same(sidecar.envFrom, container('runtime').envFrom);
    const { drain, drainDelay } = readSupervisorConfig(environmentOf(container('runtime'))).config;
    t.equal(pod.terminationGracePeriodSeconds, (drain + drainDelay) / 1_000 + 30 + 12);
    for (const page of ['install', 'configuration']) {
      const text = readFileSync(join(manifestsDirectory, `../docs/${page}.md`), 'utf8');
      const formula = /terminationGracePeriodSeconds\b[^|]*\b30 s\b[^|]*\b12 s more/;
      t.match(text, formula, `${page}.md has the same sum`);
    }
    const ports = find<IService>('Service', 'berth').spec?.ports ?? [];
    t.same(sidecar.ports, [{ name: 'write-back', containerPort: config.listen.port }]);
    t.ok(ports.some(({ targetPort }) => targetPort === 'write-back'));
    t.match(sidecar.livenessProbe?.httpGet, { path: '/livez', port: 'write-back' });
    // The runtime starts after it has succeeded.
    t.match(sidecar.startupProbe, {
      httpGet: { path: '/livez', port: 'write-back' },
      periodSeconds: 1,
    });
  });
});
