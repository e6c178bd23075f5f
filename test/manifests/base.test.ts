import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IContainer } from 'kubernetes-models/v1/Container';
import type { IPodSpec } from 'kubernetes-models/v1/PodSpec';
import t from 'tap';
import { readInitConfig } from '../../init/config.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { readSupervisorConfig } from '../../supervisor/config.ts';
import { problemsOf } from '../support/manifests/problems.ts';
import {
  cannotRender,
  containerOf,
  manifestsDirectory,
  only,
  podsOf,
  render,
} from '../support/manifests.ts';

const skip = cannotRender();

const manifests = skip ? [] : render(join(manifestsDirectory, 'base'));

/** The parts of the base that most tests look at. */
function readBase() {
  const [{ spec: pod } = { spec: undefined }] = podsOf(manifests);
  if (!pod) throw new Error('there is no pod');
  return { pod, init: containerOf(pod, 'init'), runtime: containerOf(pod, 'runtime') };
}

/** What a container's `env` sets to a value. */
function environmentOf({ env = [] }: IContainer): Record<string, string> {
  return Object.fromEntries(env.flatMap(({ name, value }) => (value ? [[name, value]] : [])));
}

/** Files that the Secrets mounted in a container bring: path -> Secret and key. */
function secretFiles(pod: IPodSpec, { volumeMounts = [] }: IContainer): Record<string, string> {
  const files = volumeMounts.flatMap(({ name, mountPath }) => {
    const sources = pod.volumes?.find((volume) => volume.name === name)?.projected?.sources ?? [];
    return sources.flatMap(({ secret }) =>
      (secret?.items ?? []).map(({ key, path }) => [
        `${mountPath}/${path}`,
        `${secret?.name}/${key}`,
      ]),
    );
  });
  return Object.fromEntries(files);
}

function mountOf({ volumeMounts = [] }: IContainer, path: string) {
  return volumeMounts.find(({ mountPath }) => mountPath === path);
}

t.test('the base manifests are complete and pass all checks', { skip }, async (t) => {
  t.same(await problemsOf([manifests]), [[]]);
  t.same(manifests.map(({ kind }) => kind).sort(), [
    'ConfigMap',
    'Deployment',
    'PersistentVolumeClaim',
    'Service',
    'ServiceAccount',
  ]);
});

t.test('both containers are confined', { skip }, (t) => {
  const { pod, init, runtime } = readBase();
  t.match(pod.securityContext, {
    runAsNonRoot: true,
    runAsUser: 1000,
    runAsGroup: 1000,
    fsGroup: 1000,
    fsGroupChangePolicy: 'OnRootMismatch',
    seccompProfile: { type: 'RuntimeDefault' },
  });
  for (const { securityContext } of [init, runtime]) {
    t.same(securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
  }
  t.match(pod, { automountServiceAccountToken: false, enableServiceLinks: false });
  t.equal(pod.serviceAccountName, 'berth');
  t.equal(pod.containers.length, 1);
  t.equal(pod.initContainers?.length, 1);
  t.end();
});

t.test('the git token is a file, in the init container alone', { skip }, (t) => {
  const { pod, init, runtime } = readBase();
  const path = environmentOf(init).BERTH_GIT_TOKEN_FILE ?? '';
  t.equal(secretFiles(pod, init)[path], 'berth-git/token');
  t.same(secretFiles(pod, runtime), {});
  t.notMatch(JSON.stringify(runtime), /berth-git|GIT_TOKEN|GITHUB|berth-credentials/);
  const fromSecrets = (runtime.env ?? []).filter(({ valueFrom }) => valueFrom);
  t.same(
    fromSecrets.map(({ name, valueFrom }) => [name, valueFrom?.secretKeyRef?.optional]),
    [
      ['ANTHROPIC_API_KEY', true],
      ['CLAUDE_CODE_OAUTH_TOKEN', true],
    ],
  );
  t.end();
});

t.test('init finds the volume and its credentials where they are mounted', { skip }, (t) => {
  const { pod, init } = readBase();
  const { BERTH_GIT_TOKEN_FILE, ...environment } = environmentOf(init);
  const { config } = readInitConfig({ ...environment, BERTH_REPO: 'me/dot-claude' });
  t.match(mountOf(init, config.configDirectory), { name: 'claude', readOnly: undefined });
  t.equal(secretFiles(pod, init)[config.credentialsSource], 'berth-credentials/credentials.json');
  t.match(config.owner, { uid: pod.securityContext?.runAsUser, gid: pod.securityContext?.fsGroup });
  t.end();
});

t.test('the supervisor finds all that it writes on volumes', { skip }, (t) => {
  const { runtime } = readBase();
  const { config } = readSupervisorConfig(environmentOf(runtime));
  t.match(mountOf(runtime, config.configDirectory), { name: 'claude' });
  t.ok(mountOf(runtime, config.apiTokensFile ?? '')?.readOnly);
  const image = readFileSync(join(manifestsDirectory, '../Dockerfile.runtime'), 'utf8');
  const home = /HOME=(\S+)/.exec(image)?.[1] ?? '';
  const temporary = /TMPDIR=(\S+)/.exec(image)?.[1] ?? '';
  // The CLI makes a lock beside its directory, so the directory above is a volume too.
  t.equal(join(config.configDirectory, '..'), home);
  for (const path of [config.configDirectory, config.workspaceDirectory, home, temporary]) {
    const mount = mountOf(runtime, path);
    t.ok(mount && !mount.readOnly && !mount.subPath, path);
  }
  t.end();
});

t.test('the pod has the time to drain', { skip }, (t) => {
  const { pod, runtime } = readBase();
  const { config } = readSupervisorConfig(environmentOf(runtime));
  const stopping = config.drainDelay + config.drain + 30_000;
  t.ok((pod.terminationGracePeriodSeconds ?? 0) * 1_000 >= stopping);
  // A preStop hook would take from that time what BERTH_DRAIN_DELAY does already.
  t.notOk(runtime.lifecycle);
  t.end();
});

t.test('probes and the Service reach the ports that are listened on', { skip }, (t) => {
  const { runtime } = readBase();
  const { config } = readSupervisorConfig(environmentOf(runtime));
  const ports = Object.fromEntries(
    (runtime.ports ?? []).map(({ name, containerPort }) => [name, containerPort]),
  );
  t.same(ports, { http: config.httpListen.port, metrics: config.metricsListen.port });
  const { startupProbe, livenessProbe, readinessProbe } = runtime;
  t.match(startupProbe?.httpGet, { path: '/livez', port: 'metrics' });
  t.match(livenessProbe?.httpGet, { path: '/livez', port: 'metrics' });
  t.match(readinessProbe?.httpGet, { path: '/readyz', port: 'metrics' });
  // One answer that is late takes nothing away: there is but one pod.
  for (const probe of [livenessProbe, readinessProbe]) t.ok((probe?.failureThreshold ?? 3) > 1);
  const { spec } = only(manifests, 'Service');
  t.same(
    spec?.ports?.map(({ name, port, targetPort }) => [name, port, targetPort]),
    Object.entries(ports).map(([name, port]) => [name, port, name]),
  );
  const labels = only(manifests, 'Deployment').spec?.template.metadata?.labels;
  t.match(labels, spec?.selector ?? {});
  t.end();
});

t.test('memory is limited, and nothing else that would be throttled', { skip }, (t) => {
  const { init, runtime } = readBase();
  for (const { resources } of [init, runtime]) {
    t.same(Object.keys(resources?.limits ?? {}), ['memory']);
    t.same(Object.keys(resources?.requests ?? {}).sort(), ['cpu', 'memory']);
  }
  t.end();
});

t.test(
  'the limit is the one of the cgroup, not of a variable that may be another',
  { skip },
  (t) => {
    t.notMatch(JSON.stringify(manifests), 'resourceFieldRef');
    t.end();
  },
);

t.test('one pod at a time has the volume', { skip }, (t) => {
  const { spec } = only(manifests, 'Deployment');
  t.match(spec, { replicas: 1, strategy: { type: 'Recreate', rollingUpdate: undefined } });
  const claim = only(manifests, 'PersistentVolumeClaim');
  t.same(claim.spec?.accessModes, ['ReadWriteOnce']);
  const used = spec?.template.spec?.volumes?.find(({ name }) => name === 'claude');
  t.equal(used?.persistentVolumeClaim?.claimName, claim.metadata?.name);
  t.end();
});

t.test('the images have the version of this package and name no registry', { skip }, (t) => {
  const { init, runtime } = readBase();
  t.equal(init.image, `berth-init:${packageJson.version}`);
  t.equal(runtime.image, `berth-runtime:${packageJson.version}`);
  t.end();
});
