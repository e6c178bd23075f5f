/** Each component over the base, and the combinations that people use: nothing can be said against them. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse as parseYaml, stringify } from 'yaml';
import { readInitConfig } from '../../../init/config.ts';
import packageJson from '../../../package.json' with { type: 'json' };
import { hosts } from '../../../shared/hosts.ts';
import { testDirectory } from '../../support/directory.ts';
import { podSecurityProblems } from '../../support/manifests/pod-security.ts';
import { problemsOf } from '../../support/manifests/problems.ts';
import { environmentOf } from '../../support/manifests/settings.ts';
import {
  all,
  cannotRender,
  containerOf,
  listComponents,
  type Manifest,
  manifestsDirectory,
  only,
  parse,
  podsOf,
  render,
  renderOverlay,
} from '../../support/manifests.ts';

const skip = cannotRender();
const directory = testDirectory(t, {});

/** One of these says where the pod may connect to; the others come on top of one of them. */
const egress = ['cilium-egress', 'cilium-egress-anthropic-only', 'network-policy'];
const besideCilium = [
  'cilium-egress-kubernetes-api',
  'cilium-egress-node-local-dns',
  'cilium-egress-optional',
];
const besidePlain = ['network-policy-kubernetes-api', 'network-policy-node-local-dns'];
/** Beside `network-policy` and the component `redis`. */
const redisPolicy = 'network-policy-redis';
/** Not over the base but over a Deployment that is there. */
const attached = 'any-deployment';
const besideAttached = 'sync-any-deployment';
const names = listComponents();
const others = names.filter(
  (name) =>
    ![...egress, ...besideCilium, ...besidePlain, redisPolicy, attached, besideAttached].includes(
      name,
    ),
);

function combine(...components: string[]): Manifest[] {
  return renderOverlay(join(directory, components.join('+')), { resources: ['base'], components });
}

function attach(...components: string[]): Manifest[] {
  return renderOverlay(join(directory, `attached+${components.join('+')}`), {
    resources: ['examples/any-deployment'],
    components,
  });
}

// A folder that is new in manifests/components is in these by itself.
const combinations: [string, () => Manifest[]][] = [
  ...[...egress, ...others].map((name): [string, () => Manifest[]] => [name, () => combine(name)]),
  ...besideCilium.map((name): [string, () => Manifest[]] => [
    `cilium-egress and ${name}`,
    () => combine('cilium-egress', name),
  ]),
  ...besidePlain.map((name): [string, () => Manifest[]] => [
    `network-policy and ${name}`,
    () => combine('network-policy', name),
  ]),
  ['all that goes with Cilium', () => combine('cilium-egress', ...besideCilium, ...others)],
  [
    'all that goes with Cilium and Anthropic alone',
    () => combine('cilium-egress-anthropic-only', 'cilium-egress-kubernetes-api', ...others),
  ],
  [
    'all that goes with plain policies',
    () => combine('network-policy', ...besidePlain, redisPolicy, ...others),
  ],
  ['no claim and plain policies', () => combine('network-policy', 'ephemeral')],
  ['a Deployment that exists', () => attach()],
  ['a Deployment that exists, with an init that stays', () => attach(besideAttached)],
  [
    'a Deployment that exists, with Cilium and an Ingress',
    () => attach('cilium-egress', 'cilium-egress-optional', 'ingress'),
  ],
  [
    'a Deployment that exists, with plain policies and an Ingress',
    () => attach('network-policy', 'ingress'),
  ],
];
const rendered = new Map<string, Manifest[]>(
  skip ? [] : combinations.map(([name, make]) => [name, make()]),
);
const manifestsOf = (name: string) => rendered.get(name) ?? [];

t.test('each combination of components passes all checks', { skip }, async (t) => {
  const sets = [...rendered.values()];
  const problems = await problemsOf(sets, { podSecurity: 'baseline' });
  for (const [index, name] of [...rendered.keys()].entries()) t.same(problems[index], [], name);
});

t.test('root-ownership alone needs more than Pod Security "restricted"', { skip }, (t) => {
  const restricted = (manifests: Manifest[]) =>
    podsOf(manifests).flatMap(({ spec }) => podSecurityProblems(spec, 'restricted'));
  for (const [name, manifests] of rendered) {
    const isRoot = name === 'root-ownership' || name.startsWith('all that goes with');
    if (!isRoot) t.same(restricted(manifests), [], name);
  }
  t.same(restricted(manifestsOf('root-ownership')), [
    'init may run as root',
    'init runs as root',
    'init adds CHOWN',
    'init adds DAC_OVERRIDE',
    'init adds FOWNER',
  ]);
  t.end();
});

t.test('every folder of components is a component', (t) => {
  const components = join(manifestsDirectory, 'components');
  const install = readFileSync(join(manifestsDirectory, '../docs/install.md'), 'utf8');
  for (const name of readdirSync(components)) {
    const text = readFileSync(join(components, name, 'kustomization.yaml'), 'utf8');
    t.match(text, /^kind: Component$/m, name);
    t.match(text, /^# /, `${name} says what it is for`);
    t.match(install, `\n| \`${name}\` |`, `${name} is in docs/install.md`);
  }
  t.end();
});

t.test('Cilium lets out to the wanted hosts at port 443, and to DNS', { skip }, (t) => {
  const opened = (name: string) =>
    JSON.stringify(manifestsOf(name)).match(/(?<="matchName":")[^"]+/g) ?? [];
  const wanted = hosts.filter(({ optional }) => !optional).map(({ host }) => host);
  t.same(opened('cilium-egress'), wanted);
  t.same(
    opened('cilium-egress-anthropic-only'),
    wanted.filter((host) => /\.(anthropic|claude)\.com$/.test(host)),
  );
  t.same(
    opened('cilium-egress and cilium-egress-optional').sort(),
    hosts.map(({ host }) => host).sort(),
  );
  t.match(JSON.stringify(manifestsOf('cilium-egress')), '"dns":[{"matchPattern":"*"}]');
  t.end();
});

t.test('the cache of NodeLocal DNSCache is open to each pod that asks for names', { skip }, (t) => {
  const asking = (name: string) => {
    // Redis connects to nothing, and so asks for no names.
    const pods = podsOf(manifestsOf(name))
      .filter((pod) => pod.name !== 'berth-redis')
      .map(({ labels }) => labels);
    const policies = manifestsOf(name).filter(({ spec }) =>
      JSON.stringify(spec ?? '').includes('"169.254.20.10/32"'),
    );
    const selectors = policies.map(({ spec }) => {
      const { podSelector, endpointSelector } = spec as Record<string, { matchLabels: object }>;
      return Object.entries((podSelector ?? endpointSelector)?.matchLabels ?? {});
    });
    return pods.map((labels) =>
      selectors.some((wanted) => wanted.every(([key, value]) => labels[key] === value)),
    );
  };
  t.same(asking('cilium-egress and cilium-egress-node-local-dns'), [true]);
  t.same(asking('all that goes with plain policies'), [true, true]);
  t.same(asking('network-policy'), [false, false]);
  t.end();
});

t.test(
  'with plain network policies, both containers have the address of the proxy',
  { skip },
  (t) => {
    const manifests = manifestsOf('network-policy');
    const pod = podsOf(manifests).find(({ name }) => name === 'berth')?.spec;
    if (!pod) throw new Error('there is no pod');
    const service = all(manifests, 'Service').find(
      ({ metadata }) => metadata?.name === 'berth-egress-proxy',
    );
    for (const name of ['init', 'runtime']) {
      const { HTTPS_PROXY } = environmentOf(containerOf(pod, name), manifests);
      const { hostname, port } = new URL(HTTPS_PROXY ?? '');
      t.equal(hostname, service?.metadata?.name);
      t.equal(Number(port), service?.spec?.ports?.[0]?.port);
    }
    t.end();
  },
);

t.test('without a volume claim, the pod uses a login that is never refreshed', { skip }, (t) => {
  const manifests = manifestsOf('ephemeral');
  t.same(all(manifests, 'PersistentVolumeClaim'), []);
  const pod = podsOf(manifests)[0]?.spec;
  t.match(
    pod?.volumes?.find(({ name }) => name === 'claude'),
    { emptyDir: {} },
  );
  t.notMatch(JSON.stringify(pod), /berth-credentials|\/secrets\/login/);
  const token = pod?.containers[0]?.env?.find(({ name }) => name === 'CLAUDE_CODE_OAUTH_TOKEN');
  t.equal(token?.valueFrom?.secretKeyRef?.optional, false);
  t.end();
});

t.test('an existing Deployment keeps its own fields', { skip }, (t) => {
  const before = render(join(manifestsDirectory, 'examples/any-deployment')).length;
  const manifests = manifestsOf('a Deployment that exists');
  t.equal(manifests.length, before);
  const deployment = only(manifests, 'Deployment');
  t.match(deployment.spec, { replicas: 1, strategy: { type: 'Recreate' } });
  const pod = podsOf(manifests)[0]?.spec;
  if (!pod) throw new Error('there is no pod');
  t.match(containerOf(pod, 'notes'), { ports: [{ containerPort: 8080 }], volumeMounts: undefined });
  t.equal(pod.serviceAccountName, undefined);
  const numbers = pod.containers.flatMap(({ ports = [] }) =>
    ports.map(({ containerPort }) => containerPort),
  );
  t.equal(new Set(numbers).size, numbers.length);
  for (const name of ['berth-init', 'berth-runtime']) {
    const { volumeMounts = [] } = containerOf(pod, name);
    // The account's token of a pod goes into every container that has nothing mounted there.
    const path = '/var/run/secrets/kubernetes.io/serviceaccount';
    const mount = volumeMounts.find(({ mountPath }) => mountPath === path);
    t.same(pod.volumes?.find((volume) => volume.name === mount?.name)?.emptyDir, {});
  }
  t.end();
});

t.test(
  'the containers of the application come first, and the grace period stays',
  { skip },
  async (t) => {
    const overlay = join(directory, 'application');
    const app = parse(
      readFileSync(join(manifestsDirectory, 'examples/any-deployment/deployment.yaml'), 'utf8'),
    );
    const { spec } = only(app, 'Deployment').spec?.template ?? {};
    const [notes] = spec?.containers ?? [];
    if (!spec || !notes) throw new Error('there is no container');
    const named = (name: string) => ({ ...notes, name, ports: [] });
    Object.assign(spec, {
      terminationGracePeriodSeconds: 600,
      initContainers: [named('wait'), named('migrate')],
      containers: [notes, named('cache')],
    });
    mkdirSync(overlay, { recursive: true });
    writeFileSync(join(overlay, 'deployment.yaml'), stringify(app[0]));
    const install = readFileSync(join(manifestsDirectory, '../docs/install.md'), 'utf8');
    const [, documented = ''] =
      /^ {2}```yaml\n( {2}patches:\n[\s\S]*?)^ {2}```$/m.exec(install) ?? [];
    const manifests = renderOverlay(overlay, {
      resources: [],
      components: [attached],
      more: {
        resources: ['deployment.yaml'],
        configMapGenerator: [{ name: 'berth-settings', literals: ['BERTH_REPO=you/dot-claude'] }],
        ...parseYaml(documented),
      },
    });
    t.same(await problemsOf([manifests]), [[]]);
    const pod = podsOf(manifests)[0]?.spec;
    const names = (containers: { name: string }[] = []) => containers.map(({ name }) => name);
    t.same(names(pod?.initContainers), ['wait', 'migrate', 'berth-init']);
    t.same(names(pod?.containers), ['notes', 'cache', 'berth-runtime']);
    t.equal(pod?.terminationGracePeriodSeconds, 600);
  },
);

t.test('the startup probe of sync ends no preparation that BERTH_TIMEOUT allows', { skip }, (t) => {
  const withTimeout = (timeout: string) =>
    readInitConfig({ BERTH_REPO: 'https://git.example.org/me/claude', BERTH_TIMEOUT: timeout });
  t.throws(() => withTimeout('86401s'), 'a day is the longest');
  const { timeout } = withTimeout('24h').config;
  const sidecars = [
    ['sync', 'init'],
    ['a Deployment that exists, with an init that stays', 'berth-init'],
  ] as const;
  for (const [combination, name] of sidecars) {
    const pod = podsOf(manifestsOf(combination))[0]?.spec;
    const { startupProbe } = pod ? containerOf(pod, name) : {};
    const { failureThreshold = 0, periodSeconds = 0 } = startupProbe ?? {};
    t.ok(failureThreshold * periodSeconds * 1_000 > timeout + 60_000);
  }
  t.end();
});

t.test('all images of berth have the version of this package', { skip }, (t) => {
  for (const [name, manifests] of rendered) {
    const images = JSON.stringify(manifests).match(/(?<="image":")[^"]*berth-[^"]+/g) ?? [];
    t.ok(images.length >= 2, name);
    for (const image of images) t.equal(image.split(':').at(-1), packageJson.version, name);
  }
  t.end();
});
