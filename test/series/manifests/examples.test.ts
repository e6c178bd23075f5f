/** The examples, and the files that docs/install.md has people write: what they make is whole. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import type { IApplication } from '@kubernetes-models/argo-cd/argoproj.io/v1alpha1/Application';
import type { IExternalSecret } from '@kubernetes-models/external-secrets/external-secrets.io/v1/ExternalSecret';
import type { IKustomization } from '@kubernetes-models/flux-cd/kustomize.toolkit.fluxcd.io/v1/Kustomization';
import type { ICronJob } from 'kubernetes-models/batch/v1/CronJob';
import type { IService } from 'kubernetes-models/v1/Service';
import t, { type Test } from 'tap';
import { parse as parseYaml, stringify } from 'yaml';
import packageJson from '../../../package.json' with { type: 'json' };
import { hosts } from '../../../shared/hosts.ts';
import { testDirectory } from '../../support/directory.ts';
import { fromAppTemplate } from '../../support/manifests/app-template.ts';
import { podSecurityProblems } from '../../support/manifests/pod-security.ts';
import { exampleSecrets, problemsOf } from '../../support/manifests/problems.ts';
import { schemaProblems } from '../../support/manifests/schemas.ts';
import { settingProblems } from '../../support/manifests/settings.ts';
import {
  all,
  cannotRender,
  containerOf,
  type Manifest,
  manifestsDirectory,
  only,
  parse,
  podsOf,
  render,
  renderOverlay,
} from '../../support/manifests.ts';

type IImages = NonNullable<NonNullable<IKustomization['spec']>['images']>;

const skip = cannotRender();
const examples = join(manifestsDirectory, 'examples');
const root = join(manifestsDirectory, '..');

function readExample(path: string): Manifest[] {
  return parse(readFileSync(join(examples, path), 'utf8'));
}

function find(manifests: Manifest[], kind: string, name = 'berth'): Manifest {
  const found = manifests.find((each) => each.kind === kind && each.metadata.name === name);
  if (!found) throw new Error(`there is no ${kind} ${name}`);
  return found;
}

/** What Flux does with the images of its Kustomization: each takes the whole place of the one of its name. */
function imagesOfFlux(path: string, images: IImages): IImages {
  const base = parseYaml(readFileSync(join(root, path, 'kustomization.yaml'), 'utf8'));
  const kept = (base.images as IImages).filter(
    ({ name }) => !images.some((image) => image.name === name),
  );
  return [
    ...kept,
    ...images.map(({ name, newName, newTag, digest }) => ({ name, newName, newTag, digest })),
  ];
}

/** What Flux and Argo CD do: they add what they were told to the kustomization of that path. */
function renderWith(t: Test, path: string, more: Record<string, unknown>): Manifest[] {
  const directory = testDirectory(t, {});
  cpSync(manifestsDirectory, join(directory, 'manifests'), { recursive: true });
  const file = join(directory, path, 'kustomization.yaml');
  writeFileSync(file, stringify({ ...parseYaml(readFileSync(file, 'utf8')), ...more }));
  return render(join(directory, path));
}

/** The repository and the images are the user's own, and the claim outlives what made it. */
function isInstalled(t: Test, manifests: Manifest[], kept: RegExp) {
  t.match(only(manifests, 'ConfigMap').data, { BERTH_REPO: 'you/dot-claude' });
  const images = podsOf(manifests).flatMap(({ spec }) =>
    ['init', 'runtime'].map((name) => containerOf(spec, name).image),
  );
  t.same(
    images,
    ['init', 'runtime'].map((name) => `registry.example/you/berth-${name}:${packageJson.version}`),
  );
  t.match(JSON.stringify(only(manifests, 'PersistentVolumeClaim').metadata?.annotations), kept);
}

t.test('the example for Flux installs berth and keeps the claim', { skip }, async (t) => {
  const flux = readExample('flux/berth.yaml');
  t.same(await schemaProblems([flux]), [[]]);
  const { spec } = find(flux, 'Kustomization') as unknown as IKustomization;
  const { path = '', components, images = [], patches, targetNamespace: namespace } = spec ?? {};
  const renderImages = (own: IImages) =>
    renderWith(t, path, { components, images: imagesOfFlux(path, own), patches, namespace });
  const manifests = renderImages(images);
  t.same(await problemsOf([manifests]), [[]]);
  isInstalled(t, manifests, /"kustomize.toolkit.fluxcd.io\/prune":"disabled"/);
  t.ok(manifests.some(({ kind }) => kind === 'CiliumNetworkPolicy'));
  t.equal(find(flux, 'Namespace').metadata.name, namespace);
  // Every source is one of the file, or the one that Flux itself brings.
  const source = find(flux, 'GitRepository');
  t.equal(source.metadata.name, spec?.sourceRef.name);
  t.match(source.spec, { ref: { tag: `v${packageJson.version}` } });
  // The tag of the base does not come through, so the example has its own.
  const untagged = renderImages(images.map(({ name, newName }) => ({ name, newName })));
  t.match(JSON.stringify(untagged), '"image":"registry.example/you/berth-init"');
});

t.test('the example for Argo CD installs berth and keeps the claim', { skip }, async (t) => {
  const application = readExample('argocd/application.yaml');
  t.same(await schemaProblems([application]), [[]]);
  const { spec } = find(application, 'Application') as unknown as IApplication;
  const { path = '', kustomize, targetRevision } = spec.source ?? {};
  const images = kustomize?.images?.map((image) => {
    const [name, to = ''] = image.split('=');
    const [, newName, newTag] = /^(.*):([^:]+)$/.exec(to) ?? [];
    return { name, newName, newTag };
  });
  const { components, patches } = kustomize ?? {};
  const { namespace } = spec.destination;
  const manifests = renderWith(t, path, { components, images, patches, namespace });
  t.same(await problemsOf([manifests]), [[]]);
  isInstalled(t, manifests, /"argocd.argoproj.io\/sync-options":"Prune=false,Delete=false"/);
  t.ok(manifests.some(({ kind }) => kind === 'CiliumNetworkPolicy'));
  t.equal(targetRevision, `v${packageJson.version}`);
});

t.test('by app-template, which makes the pod of the base', { skip }, async (t) => {
  const release = readExample('app-template/helmrelease.yaml');
  t.same(await schemaProblems([release]), [[]]);
  const { spec } = find(release, 'HelmRelease');
  const manifests = fromAppTemplate('berth', (spec as { values: Record<string, unknown> }).values);
  t.same(await problemsOf([manifests]), [[]]);
  const [made] = podsOf(manifests);
  const [wanted] = podsOf(render(join(manifestsDirectory, 'base')));
  // What the chart or the example has otherwise: the account, names of images, the login.
  const comparable = (text: string) =>
    text
      .replaceAll(/registry.example\/you\//g, '')
      .replaceAll(/"name":"berth(-settings-\w+)?"/g, '"name":"berth"');
  const shape = (pod: typeof made, name: string) => {
    if (!pod) throw new Error('there is no pod');
    const container = containerOf(pod.spec, name);
    const env = container.env?.filter(({ value }) => value);
    const sorted = [...(container.volumeMounts ?? [])].sort((a, b) =>
      a.mountPath < b.mountPath ? -1 : 1,
    );
    return JSON.parse(comparable(JSON.stringify({ ...container, env, volumeMounts: sorted })));
  };
  for (const name of ['init', 'runtime']) t.same(shape(made, name), shape(wanted, name), name);
  const rest = ({ spec }: NonNullable<typeof made>) => {
    const { serviceAccountName, initContainers, containers, volumes, ...options } = spec;
    const byName = [...(volumes ?? [])].sort((a, b) => (a.name < b.name ? -1 : 1));
    return { ...options, volumes: byName };
  };
  t.same(made && rest(made), wanted && rest(wanted));
  t.equal(made?.labels.berth, wanted?.labels.berth);
});

t.test('a CronJob sends a job with curl, and waits for its end', { skip }, async (t) => {
  const manifests = readExample('cron-job/cron-job.yaml');
  t.same(await schemaProblems([manifests]), [[]]);
  const { spec } = find(manifests, 'CronJob', 'berth-weekly') as unknown as ICronJob;
  const pod = spec?.jobTemplate.spec?.template.spec;
  t.same(pod && podSecurityProblems(pod, 'restricted'), []);
  const [curl] = pod?.containers ?? [];
  const [shell = '', ...script] = curl?.command ?? [];
  const environment = Object.fromEntries(
    (curl?.env ?? []).flatMap(({ name, value }) => (value ? [[name, value]] : [])),
  );
  const service = find(render(join(manifestsDirectory, 'base')), 'Service') as IService;
  t.equal(new URL(environment.BERTH ?? '').hostname, service.metadata?.name);
  const directory = testDirectory(t, { header: 'Authorization: Bearer made-up' });
  const states = ['queued', 'running', 'succeeded'];
  const requests: string[] = [];
  const server = createServer(async (request, response) => {
    const { method, url, headers } = request;
    const body = (await request.toArray()).join('');
    const keyed = `${headers.authorization} ${headers['idempotency-key'] ?? ''}`;
    requests.push(`${method} ${url} ${keyed} ${body}`);
    const state = method === 'POST' ? 'queued' : states.shift();
    response.writeHead(method === 'POST' ? 202 : 200, { location: '/v1/jobs/job_1' });
    response.end(`{"id":"job_1","state":"${state}","callback":{"state":"waiting"}}`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const rewritten = script.map((each) => each.replaceAll(/\/(secrets|tmp)\//g, './'));
  const { stdout } = await promisify(execFile)(shell, rewritten, {
    cwd: directory,
    env: {
      ...{ PATH: process.env.PATH, ...environment, KEY: 'berth-weekly-7' },
      BERTH: `http://127.0.0.1:${port}`,
    },
  });
  t.match(stdout, '"state":"succeeded"');
  const [first = '', ...others] = requests;
  const [head = '', text = ''] = first.split(/ (?=\{)/);
  t.equal(head, 'POST /v1/jobs Bearer made-up berth-weekly-7');
  t.type(JSON.parse(text).prompt, 'string');
  t.same(
    others.map((each) => each.trim()),
    Array(3).fill('GET /v1/jobs/job_1?wait=60s Bearer made-up'),
  );
});

t.test(
  'the example Secrets hold no secret, and the pod names exactly these Secrets',
  { skip },
  async (t) => {
    const text = readFileSync(join(examples, 'secrets/secrets.yaml'), 'utf8');
    const secrets = exampleSecrets();
    t.same(await schemaProblems([secrets]), [[]]);
    const everything = renderOverlay(testDirectory(t, {}), {
      resources: ['base'],
      components: ['callbacks', 'sync'],
    });
    const base = JSON.stringify(podsOf(everything));
    const used = base.match(/berth-(git|credentials|api-tokens|login|webhook|push)/g);
    t.same(secrets.map(({ metadata }) => metadata.name).sort(), [...new Set(used)].sort());
    for (const [name, value] of all(secrets, 'Secret').flatMap(({ stringData = {} }) =>
      Object.entries(stringData),
    )) {
      t.match(value, /<.*>/, name);
      if (name !== 'n8n') t.match(base, `"${name}"`);
    }
    const login = '{"claudeAiOauth":{}}';
    const filled = parse(text.replace(/<the whole file[^>]*>/, login));
    const [{ stringData } = {}] = all(filled, 'Secret').filter(
      ({ metadata }) => metadata?.name === 'berth-credentials',
    );
    t.match(stringData, { 'credentials.json': `${login}\n` }, 'JSON that is pasted stays text');
    t.notMatch(text, /gh[a-z]_|github_pat_|sk-ant|berth_|[0-9a-f]{32}/);
  },
);

t.test('External Secrets make Secrets and keys that the pod names', async (t) => {
  const external = readExample('secrets/external-secrets.yaml');
  t.same(await schemaProblems([external]), [[]]);
  const secrets = all(exampleSecrets(), 'Secret');
  for (const { spec } of external as unknown as IExternalSecret[]) {
    const secret = secrets.find(({ metadata }) => metadata?.name === spec?.target?.name);
    t.ok(secret, 'is a Secret of the example');
    for (const { secretKey } of spec?.data ?? []) t.ok(secret?.stringData?.[secretKey], secretKey);
  }
});

t.test('SOPS encrypts the content of a Secret, but not the names in the Secret', (t) => {
  const { creation_rules: rules } = parseYaml(
    readFileSync(join(examples, 'secrets/.sops.yaml'), 'utf8'),
  );
  const [{ path_regex: path, encrypted_regex: encrypted }] = rules;
  t.match('secrets.yaml', new RegExp(path));
  const fields = all(exampleSecrets(), 'Secret').flatMap((secret) => Object.keys(secret));
  t.same(
    [...new Set(fields)].filter((field) => new RegExp(encrypted).test(field)),
    ['stringData'],
  );
  t.end();
});

t.test('the overlay of docs/install.md, and each of its patches', { skip }, async (t) => {
  const documented = blocksOf(readFileSync(join(root, 'docs/install.md'), 'utf8'));
  const files = Object.keys(documented).filter((name) => !name.endsWith('kustomization.yaml'));
  const components: Record<string, string[]> = {
    'host.yaml': ['ingress'],
    'api-server.yaml': ['network-policy', 'network-policy-kubernetes-api', 'write-back'],
  };
  const resources: Record<string, string> = { 'workspace.yaml': 'workspace-claim.yaml' };
  const patches = files.filter((name) => !Object.values(resources).includes(name));
  t.same(patches, ['host.yaml', 'api-server.yaml', 'workspace.yaml', 'storage-class.yaml']);
  const sets = ['', ...patches].map((patch) => {
    const overlay = testDirectory(t, {});
    const from = (path: string) => relative(overlay, join(manifestsDirectory, path));
    for (const name of files) writeFileSync(join(overlay, name), documented[name] ?? '');
    const kustomization = parseYaml(
      (documented['kustomization.yaml'] ?? '').replaceAll('../berth/manifests/', `${from('.')}/`),
    );
    const added = components[patch] ?? [];
    if (added.includes('network-policy')) kustomization.components = [];
    kustomization.components.push(...added.map((name) => from(`components/${name}`)));
    if (resources[patch]) kustomization.resources.push(resources[patch]);
    if (patch) kustomization.patches = [{ path: patch }];
    writeFileSync(join(overlay, 'kustomization.yaml'), stringify(kustomization));
    return render(overlay);
  });
  const problems = await problemsOf(sets);
  for (const [index, name] of ['no patch', ...patches].entries()) t.same(problems[index], [], name);
  const [plain = [], withHost = [], withApiServer = [], withWorkspace = [], withClass = []] = sets;
  t.match(only(withClass, 'PersistentVolumeClaim').spec, { storageClassName: 'your-class' });
  t.match(only(plain, 'ConfigMap').data, { BERTH_REPO: 'you/dot-claude' });
  const open = JSON.stringify(find(withApiServer, 'NetworkPolicy', 'berth-egress-kubernetes-api'));
  t.match(open, '192.168.1.10/32');
  t.notMatch(open, '192.0.2.1', 'what was there for documentation is gone');
  t.match(find(withHost, 'Ingress').spec, {
    // That of ingress-nginx, which its chart does not make the default.
    ingressClassName: 'nginx',
    rules: [{ host: 'claude.example.org' }],
  });
  const issuer = { 'cert-manager.io/cluster-issuer': 'your-issuer' };
  t.match(find(withHost, 'Ingress').metadata.annotations, issuer);
  t.equal(all(withWorkspace, 'PersistentVolumeClaim').length, 2);
});

t.test('the overlay of docs/install.md with a CLI that init fetches', { skip }, async (t) => {
  const text = readFileSync(join(root, 'docs/install.md'), 'utf8');
  const [, fragment = ''] = /^```yaml\n(components:\n[\s\S]*?)^```$/m.exec(text) ?? [];
  const registry = hosts.find(({ optional }) => optional?.includes('BERTH_CLAUDE_TARBALL'))?.host;
  t.match(fragment, `BERTH_CLAUDE_TARBALL=https://${registry}/...\n`);
  const answered = fragment
    .replace(/(?<=https:\/\/[\w.]+\/)\.\.\./, 'claude-code-linux-x64-2.1.330.tgz')
    .replace('sha512-...', `sha512-${Buffer.alloc(64, 7).toString('base64')}`);
  const overlay = testDirectory(t, {});
  const from = relative(overlay, manifestsDirectory);
  const whole = parseYaml(blocksOf(text)['kustomization.yaml'] ?? '');
  const kustomization = stringify({ ...whole, ...parseYaml(answered) });
  const file = join(overlay, 'kustomization.yaml');
  writeFileSync(file, kustomization.replaceAll('../berth/manifests', from));
  const manifests = render(overlay);
  t.same(await problemsOf([manifests]), [[]]);
  const policies = manifests.filter(({ kind }) => kind === 'CiliumNetworkPolicy');
  t.match(JSON.stringify(policies), `{"matchName":"${registry}"}`);
});

t.test('the hosts of docs/install.md take the place of the proxy’s list', { skip }, async (t) => {
  const text = readFileSync(join(root, 'docs/install.md'), 'utf8');
  const documented = blocksOf(text);
  const [, listed = ''] =
    /^```yaml\n(components:\n(?: {2}- .*\n)* {2}- hosts\n)^```$/m.exec(text) ?? [];
  const list = readFileSync(
    join(manifestsDirectory, 'components/network-policy/hosts.txt'),
    'utf8',
  );
  const overlay = testDirectory(t, {
    hosts: {
      'kustomization.yaml': documented['hosts/kustomization.yaml'] ?? '',
      'hosts.txt': list.replace('# registry.npmjs.org', 'registry.npmjs.org'),
    },
  });
  const whole = { ...parseYaml(documented['kustomization.yaml'] ?? ''), ...parseYaml(listed) };
  const from = relative(overlay, manifestsDirectory);
  const kustomization = stringify(whole).replaceAll('../berth/manifests', from);
  writeFileSync(join(overlay, 'kustomization.yaml'), kustomization);
  const manifests = render(overlay);
  t.same(await problemsOf([manifests]), [[]]);
  const [proxy] = all(manifests, 'ConfigMap').filter(({ data }) => data?.['squid.conf']);
  t.match(proxy?.data?.['hosts.txt'], /^api\.anthropic\.com$/m);
  t.match(proxy?.data?.['hosts.txt'], /^registry\.npmjs\.org$/m);
  const mounted = podsOf(manifests).flatMap(({ spec }) => spec.volumes ?? []);
  t.ok(
    mounted.some(({ configMap }) => configMap?.name === proxy?.metadata?.name),
    'a change of it rolls the proxy',
  );
});

t.test('the image volume of docs/containers.md gives the runtime a CLI', { skip }, async (t) => {
  const documented = blocksOf(readFileSync(join(root, 'docs/containers.md'), 'utf8'));
  const overlay = testDirectory(t, { 'claude-cli.yaml': documented['claude-cli.yaml'] ?? '' });
  const kustomization = {
    resources: [relative(overlay, join(manifestsDirectory, 'base'))],
    patches: [{ path: 'claude-cli.yaml' }],
  };
  writeFileSync(join(overlay, 'kustomization.yaml'), stringify(kustomization));
  const rendered = render(overlay);
  t.same(await problemsOf([rendered]), [[]]);
  t.match(find(rendered, 'Deployment').spec, {
    template: {
      spec: { volumes: [{ name: 'claude-cli', image: { reference: /claude-cli:\d/ } }] },
    },
  });
});

t.test('the policy of docs/security.md is one', async (t) => {
  const text = readFileSync(join(root, 'docs/security.md'), 'utf8');
  const [, block = ''] = /^```yaml\n([\s\S]*?)^```$/m.exec(text) ?? [];
  t.match(parse(block), [{ kind: 'CiliumNetworkPolicy' }]);
  t.same(await schemaProblems([parse(block)]), [[]]);
});

t.test(
  'the init container of docs/init.md is that of the base, and restricted',
  { skip },
  async (t) => {
    const text = readFileSync(join(root, 'docs/init.md'), 'utf8');
    const [, block = ''] = /^```yaml\n([\s\S]*?)^```$/m.exec(text) ?? [];
    const { strategy, template } = parseYaml(block).spec;
    const [init] = template.spec.initContainers;
    const namesOf = (all: { name: string }[]) => all.map(({ name }) => name).sort();
    t.same(namesOf(init.volumeMounts), namesOf(template.spec.volumes), 'what it mounts is there');
    t.ok(namesOf(init.env).includes('GITHUB_PAT'), 'the token is where the script had it');
    const labels = { app: 'yours' };
    // What the Deployment has already, in short.
    const whole = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'yours' },
      spec: {
        strategy,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { containers: [init], ...template.spec } },
      },
    };
    t.same(await schemaProblems([[whole]]), [[]]);
    t.same(
      podsOf([whole]).flatMap(({ spec }) => podSecurityProblems(spec, 'restricted')),
      [],
    );
    t.same(settingProblems([whole]), []);
    const base = containerOf(
      podsOf(render(join(manifestsDirectory, 'base')))[0]?.spec ?? template,
      'init',
    );
    t.same(init.resources, base.resources);
  },
);

t.test('the label of docs/alerts.md goes to the rules and the monitor', { skip }, async (t) => {
  const text = readFileSync(join(root, 'docs/alerts.md'), 'utf8');
  const [, entry = ''] = /^```yaml\n(- target:[\s\S]*?)^```$/m.exec(text) ?? [];
  const directory = testDirectory(t, blocksOf(text));
  const from = (path: string) => relative(directory, join(manifestsDirectory, path));
  const kustomization = {
    resources: [from('base')],
    components: [from('components/monitoring')],
    patches: parseYaml(entry),
  };
  writeFileSync(join(directory, 'kustomization.yaml'), stringify(kustomization));
  const manifests = render(directory);
  t.same(await problemsOf([manifests]), [[]]);
  const labelled = manifests.filter(({ metadata }) => metadata.labels?.release);
  t.same(labelled.map(({ kind }) => kind).sort(), ['PrometheusRule', 'ServiceMonitor']);
});

/** The YAML blocks of a document whose first line is a comment with a file's name. */
function blocksOf(markdown: string): Record<string, string> {
  const blocks = markdown.matchAll(/^```yaml\n# (\S+\.yaml)\n([\s\S]*?)^```$/gm);
  return Object.fromEntries([...blocks].map(([, name = '', text = '']) => [name, text]));
}
