import { readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Container, PodSpec } from 'kubernetes-types/core/v1.js';
import t, { type Test } from 'tap';
import { readInitConfig } from '../init/config.ts';
import packageJson from '../package.json' with { type: 'json' };
import { knownSettings } from '../shared/known-settings.ts';
import { readSupervisorConfig } from '../supervisor/config.ts';
import { kustomizeVersion, only, parse, render, typeProblems } from './support/manifests.ts';

const root = join(import.meta.dirname, '..');
const base = join(root, 'manifests/base');
const kustomize = kustomizeVersion();
// In CI a missing kubectl is a failure, not a reason to test less.
const skip = kustomize || process.env.CI === 'true' ? false : 'kubectl is not installed';

/** The parts of the base that most tests look at. */
function readBase() {
  const manifests = render(base);
  const pod = podOf(manifests);
  return { manifests, pod, init: containerOf(pod, 'init'), runtime: containerOf(pod, 'runtime') };
}

function podOf(manifests: ReturnType<typeof render>): PodSpec {
  const spec = only(manifests, 'Deployment').spec?.template.spec;
  if (!spec) throw new Error('the Deployment has no pod');
  return spec;
}

function containerOf(pod: PodSpec, name: string): Container {
  const all = [...(pod.initContainers ?? []), ...pod.containers];
  const found = all.find((container) => container.name === name);
  if (!found) throw new Error(`the pod has no container ${name}`);
  return found;
}

/** What a container's `env` sets to a value. */
function environmentOf({ env = [] }: Container): Record<string, string> {
  return Object.fromEntries(env.flatMap(({ name, value }) => (value ? [[name, value]] : [])));
}

/** Files that the Secrets mounted in a container bring: path -> Secret and key. */
function secretFiles(pod: PodSpec, { volumeMounts = [] }: Container): Record<string, string> {
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

function mountOf({ volumeMounts = [] }: Container, path: string) {
  return volumeMounts.find(({ mountPath }) => mountPath === path);
}

t.test(
  'the base renders without a field or a type that Kubernetes does not know',
  { skip },
  (t) => {
    const { manifests } = readBase();
    t.same(typeProblems(manifests), []);
    t.same(manifests.map(({ kind }) => kind).sort(), [
      'ConfigMap',
      'Deployment',
      'PersistentVolumeClaim',
      'Service',
    ]);
    t.end();
  },
);

t.test('a misspelt field and a wrong type would be found', { skip }, (t) => {
  const text = readFileSync(join(base, 'deployment.yaml'), 'utf8');
  const wrong = text.replace('readOnlyRootFilesystem', 'readonlyRootFilesystem');
  t.match(typeProblems(parse(wrong)), [
    /"readonlyRootFilesystem": true, .* does not exist in type/,
  ]);
  const one = text.replace('replicas: 1', 'replicas: one');
  t.match(typeProblems(parse(one)), [/"replicas": "one", .* not assignable to type 'number'/]);
  t.end();
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

t.test('every setting that is named exists', { skip }, (t) => {
  const { manifests, init, runtime } = readBase();
  const names = [
    ...Object.keys(only(manifests, 'ConfigMap').data ?? {}),
    ...[init, runtime].flatMap(({ env = [] }) => env.map(({ name }) => name)),
  ];
  const settings = names.filter((name) => !/^(ANTHROPIC|CLAUDE_CODE)_/.test(name));
  for (const name of settings) {
    t.ok(knownSettings.includes(name) || knownSettings.includes(name.replace(/_FILE$/, '')), name);
  }
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
  const image = readFileSync(join(root, 'Dockerfile.runtime'), 'utf8');
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

t.test('every mount has its volume, and every volume is mounted', { skip }, (t) => {
  const { pod, init, runtime } = readBase();
  const mounted = [init, runtime].flatMap(({ volumeMounts = [] }) =>
    volumeMounts.map(({ name }) => name),
  );
  t.same([...new Set(mounted)].sort(), pod.volumes?.map(({ name }) => name).sort());
  t.end();
});

t.test('the pod has the time to drain', { skip }, (t) => {
  const { pod, runtime } = readBase();
  const { config } = readSupervisorConfig(environmentOf(runtime));
  const stopping = config.drainDelay + config.drain + 30_000;
  t.ok((pod.terminationGracePeriodSeconds ?? 0) * 1_000 >= stopping);
  t.end();
});

t.test('probes and the Service reach the ports that are listened on', { skip }, (t) => {
  const { manifests, runtime } = readBase();
  const { config } = readSupervisorConfig(environmentOf(runtime));
  const ports = Object.fromEntries(
    (runtime.ports ?? []).map(({ name, containerPort }) => [name, containerPort]),
  );
  t.same(ports, { http: config.httpListen.port, metrics: config.metricsListen.port });
  const { startupProbe, livenessProbe, readinessProbe } = runtime;
  t.match(startupProbe?.httpGet, { path: '/livez', port: 'metrics' });
  t.match(livenessProbe?.httpGet, { path: '/livez', port: 'metrics' });
  t.match(readinessProbe?.httpGet, { path: '/readyz', port: 'metrics' });
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

t.test('one pod at a time has the volume', { skip }, (t) => {
  const { manifests } = readBase();
  const { spec } = only(manifests, 'Deployment');
  t.match(spec, { replicas: 1, strategy: { type: 'Recreate', rollingUpdate: undefined } });
  const claim = only(manifests, 'PersistentVolumeClaim');
  t.same(claim.spec?.accessModes, ['ReadWriteOnce']);
  const used = spec?.template.spec?.volumes?.find(({ name }) => name === 'claude');
  t.equal(used?.persistentVolumeClaim?.claimName, claim.metadata?.name);
  t.end();
});

t.test('the images are those of this version, of no registry', { skip }, (t) => {
  const { init, runtime } = readBase();
  t.equal(init.image, `berth-init:${packageJson.version}`);
  t.equal(runtime.image, `berth-runtime:${packageJson.version}`);
  t.end();
});

t.test('the example Secrets are the ones that are used, and hold no secret', { skip }, (t) => {
  const text = readFileSync(join(base, 'secrets.example.yaml'), 'utf8');
  const secrets = parse(text);
  t.same(typeProblems(secrets), []);
  const { pod } = readBase();
  const used = JSON.stringify(pod).match(/berth-(git|credentials|api-tokens|login)/g);
  t.same(secrets.map(({ metadata }) => metadata?.name).sort(), [...new Set(used)].sort());
  for (const key of ['token', 'credentials.json', 'ANTHROPIC_API_KEY', 'CLAUDE_CODE_OAUTH_TOKEN']) {
    t.match(JSON.stringify(pod), `"${key}"`);
    t.match(text, new RegExp(`^  ${key}: "?<`, 'm'));
  }
  t.notMatch(text, /gh[a-z]_|github_pat_|sk-ant|berth_|[0-9a-f]{32}/);
  t.end();
});

t.test('the overlay of docs/containers.md says each thing once', { skip }, (t) => {
  const manifests = render(writeOverlay(t));
  t.same(typeProblems(manifests), []);
  const pod = podOf(manifests);
  const [init, runtime] = [containerOf(pod, 'init'), containerOf(pod, 'runtime')];
  t.match([init.image, runtime.image], [/\/berth-init:/, /\/berth-runtime:/]);
  const settings = only(manifests, 'ConfigMap');
  t.match(settings.data, { BERTH_REPO: /^\w+\// });
  for (const { envFrom } of [init, runtime]) {
    t.same(envFrom, [{ configMapRef: { name: settings.metadata?.name } }]);
  }
  t.end();
});

t.test('the patches of docs/containers.md fit', { skip }, (t) => {
  const manifests = render(writeOverlay(t, 'init-as-root.yaml', 'workspace.yaml'));
  t.same(typeProblems(manifests), []);
  const pod = podOf(manifests);
  t.match(containerOf(pod, 'init').securityContext, {
    runAsUser: 0,
    runAsNonRoot: false,
    capabilities: { drop: ['ALL'], add: ['CHOWN', 'DAC_OVERRIDE', 'FOWNER'] },
  });
  t.equal(pod.securityContext?.runAsUser, 1000);
  const workspace = pod.volumes?.find(({ name }) => name === 'workspace');
  t.same(workspace, {
    name: 'workspace',
    persistentVolumeClaim: { claimName: 'berth-workspace' },
  });
  t.end();
});

/** The overlay of the document, with these of its patches; returns its directory. */
function writeOverlay(t: Test, ...patches: string[]): string {
  const overlay = t.testdir({});
  const examples = examplesIn(readFileSync(join(root, 'docs/containers.md'), 'utf8'));
  const list = patches.map((name) => `  - path: ${name}`);
  const kustomization = [
    examples['kustomization.yaml'],
    ...(list.length > 0 ? ['patches:'] : []),
    ...list,
  ]
    .join('\n')
    .replace('../berth/manifests/base', relative(overlay, base));
  writeFileSync(join(overlay, 'kustomization.yaml'), inWordsOf(kustomize, kustomization));
  for (const name of patches) writeFileSync(join(overlay, name), examples[name] ?? '');
  return overlay;
}

/** Debian's kubectl, 1.20, knows the same things by older names. */
function inWordsOf(version: string | undefined, kustomization: string): string {
  if (version !== 'old') return kustomization;
  return kustomization
    .replace('resources:', 'bases:')
    .replace('patches:', 'patchesStrategicMerge:')
    .replaceAll('- path: ', '- ');
}

/** The YAML blocks of a document whose first line is a comment with a file's name. */
function examplesIn(markdown: string): Record<string, string> {
  const blocks = markdown.matchAll(/^```yaml\n# (\S+\.yaml)\n([\s\S]*?)^```$/gm);
  return Object.fromEntries([...blocks].map(([, name = '', text = '']) => [name, text]));
}
