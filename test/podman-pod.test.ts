/** The script that makes a `podman run` of the pod in the manifests, for test/containers. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import {
  type PodSpec,
  parseManifests,
  podOf,
  type RunOptions,
  runArguments,
  volumesOf,
} from '../scripts/containers/pod.ts';

const manifests = parseManifests(`
apiVersion: v1
kind: ConfigMap
metadata: { name: settings-abc }
data: { BERTH_REPO: me/claude }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: berth }
spec:
  template:
    spec:
      enableServiceLinks: false
      securityContext: { runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000 }
      containers:
        - name: runtime
          image: berth-runtime:1
          envFrom: [{ configMapRef: { name: settings-abc } }]
          env:
            - { name: LIMIT, valueFrom: { resourceFieldRef: { resource: limits.memory } } }
            - { name: KEY, valueFrom: { secretKeyRef: { name: login, key: KEY, optional: true } } }
          resources: { requests: { memory: 1Gi }, limits: { memory: 4Gi } }
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL], add: [CHOWN] }
          volumeMounts:
            - { name: claude, mountPath: /claude }
            - { name: tokens, mountPath: /tokens, readOnly: true }
      volumes:
        - { name: claude, persistentVolumeClaim: { claimName: berth } }
        - { name: tmp, emptyDir: {} }
        - { name: tokens, secret: { secretName: tokens, defaultMode: 0440 } }
        - name: both
          projected:
            defaultMode: 0400
            sources:
              - secret: { name: tokens, items: [{ key: n8n, path: a-token }] }
              - secret: { name: nowhere, optional: true }
`);
const secrets = { tokens: { n8n: 'the line' } };
const options: RunOptions = {
  manifests,
  container: 'runtime',
  name: 'one',
  directory: '/pod',
  secrets,
  image: 'local/runtime',
};

t.test('each field becomes the flags that do the same', async (t) => {
  t.strictSame(
    runArguments({ ...options, settings: { MORE: '1' } })
      .join(' ')
      .split(' --'),
    [
      '--name one',
      'network host',
      'user 1000:1000',
      'group-add 1000',
      'read-only',
      'read-only-tmpfs=false',
      'security-opt=no-new-privileges',
      'cap-drop=ALL',
      'cap-add=CHOWN',
      'memory 4294967296',
      'memory-swap 4294967296',
      'env BERTH_REPO=me/claude',
      'env LIMIT=4294967296',
      'env KUBERNETES_SERVICE_HOST=192.0.2.1',
      'env MORE=1',
      'volume /pod/claude:/claude',
      'volume /pod/tokens:/tokens:ro',
      'volume /pod/termination-log:/dev/termination-log local/runtime',
    ],
  );
  t.ok(runArguments({ ...options, secrets: { login: { KEY: 'k' } } }).includes('KEY=k'));
});

t.test('volumes are claims, empty, or files of Secrets with their mode', async (t) => {
  t.strictSame(volumesOf(podOf(manifests), secrets), [
    { name: 'claude', kind: 'claim', claim: 'berth' },
    { name: 'tmp', kind: 'empty' },
    { name: 'tokens', kind: 'files', files: { n8n: 'the line' }, mode: 0o440 },
    { name: 'both', kind: 'files', files: { 'a-token': 'the line' }, mode: 0o400 },
  ]);
});

t.test('an image volume is a mount of the image, and nothing to make', async (t) => {
  const withImage = (image: { reference: string }) => (pod: PodSpec) => {
    pod.volumes = [{ name: 'cli', image }];
    const [runtime] = pod.containers;
    if (runtime) runtime.volumeMounts = [{ name: 'cli', mountPath: '/cli', readOnly: true }];
  };
  const patch = withImage({ reference: 'local/claude' });
  const given = runArguments({ ...options, patch });
  t.ok(given.includes('type=image,source=local/claude,destination=/cli'));
  const volumes = [{ name: 'cli', image: { reference: 'local/claude' } }];
  t.strictSame(volumesOf({ containers: [], volumes }, {}), []);
  const writable = Object.assign({ reference: 'x' }, { writable: true });
  t.throws(() => runArguments({ ...options, patch: withImage(writable) }), /cli has writable/);
});

t.test('an unknown field or a missing value is an error', async (t) => {
  const changed = (change: object) => () => {
    const patch = (pod: PodSpec) => void Object.assign(pod.containers[0] as object, change);
    return runArguments({ ...options, patch });
  };
  const hostPid = (pod: PodSpec) => void Object.assign(pod, { hostPID: true });
  t.throws(() => runArguments({ ...options, patch: hostPid }), /pod has hostPID/);
  t.throws(changed({ workingDir: '/x' }), /container runtime has workingDir/);
  t.throws(changed({ securityContext: { procMount: 'x' } }), /procMount/);
  t.throws(changed({ resources: { limits: { cpu: '1' } } }), /has cpu/);
  t.throws(changed({ resources: { limits: { memory: '1e9' } } }), /1e9/);
  t.throws(changed({ env: [{ name: 'EMPTY' }] }), /EMPTY/);
  t.throws(changed({ envFrom: [{ configMapRef: { name: 'x' } }] }), /ConfigMap x/);
  t.throws(() => volumesOf(podOf(manifests), {}), /no Secret tokens/);
  t.throws(() => volumesOf(podOf(manifests), { tokens: {} }), /has no key n8n/);
  t.throws(() => runArguments({ ...options, container: 'x' }), /no container x/);
});

const base = join(import.meta.dirname, '../manifests/base');
const kubectl = (() => {
  try {
    return execFileSync('kubectl', ['kustomize', base], { encoding: 'utf8', stdio: 'pipe' });
  } catch {
    return undefined;
  }
})();
const skip =
  kubectl !== undefined || process.env.CI === 'true' ? false : 'kubectl is not installed';

t.test('the conversion to podman accepts each field of manifests/base', { skip }, async (t) => {
  const rendered = parseManifests(kubectl ?? '');
  const secrets = {
    'berth-git': { token: 'x' },
    'berth-api-tokens': { n8n: 'x' },
    'berth-credentials': { 'credentials.json': '{}' },
  };
  t.equal(volumesOf(podOf(rendered), secrets).length, 7);
  for (const container of ['init', 'runtime']) {
    const given = runArguments({ ...options, manifests: rendered, secrets, container });
    for (const flag of ['--read-only', '--cap-drop=ALL', '--security-opt=no-new-privileges']) {
      t.ok(given.includes(flag), `${container} ${flag}`);
    }
  }
});
