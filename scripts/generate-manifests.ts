/**
 * Generates the derived parts of manifests/, so that each fact has one source: the hosts of
 * shared/hosts.ts as Cilium policies and as the list of the egress proxy, the base's containers as
 * a patch for any Deployment, and the example profiles as a component. `npm run docs` writes the
 * files.
 */
import { readFileSync } from 'node:fs';
import type { IDeployment } from 'kubernetes-models/apps/v1/Deployment';
import type { IContainer } from 'kubernetes-models/v1/Container';
import { parse, stringify } from 'yaml';
import { hosts, type WantedHost } from '../shared/hosts.ts';

const base = new URL('../manifests/base/', import.meta.url);
const components = 'manifests/components';
const always = hosts.filter(({ optional }) => optional === undefined);

/** Returns the path and text of each file. */
export function generatedManifests(): [string, string][] {
  const attached = `${components}/any-deployment`;
  const from = 'manifests/base/deployment.yaml';
  return [
    policyFile('cilium-egress', always),
    policyFile(
      'cilium-egress-anthropic-only',
      always.filter(({ who }) => who === 'runtime'),
    ),
    policyFile(
      'cilium-egress-optional',
      hosts.filter((host) => !always.includes(host)),
    ),
    [`${components}/network-policy/hosts.txt`, proxyList()],
    [`${attached}/pod.yaml`, header(from) + write(attach(readBase('deployment.yaml')))],
    [`${attached}/service.yaml`, header(from) + write(serve(readBase('service.yaml')))],
    [`${components}/profiles/profiles.yaml`, closedProfiles()],
    [`${attached}/volume.yaml`, header('manifests/base/volume.yaml') + readText('volume.yaml')],
  ];
}

function policyFile(component: string, wanted: readonly WantedHost[]): [string, string] {
  return [
    `${components}/${component}/policy.yaml`,
    header('shared/hosts.ts') + write(ciliumPolicy(component, wanted)),
  ];
}

/**
 * DNS is open, because a pod also resolves names with its search domains, which no list has.
 * Connections are limited.
 */
function ciliumPolicy(component: string, wanted: readonly WantedHost[]) {
  const dns = {
    toEndpoints: [
      {
        matchLabels: {
          'k8s:io.kubernetes.pod.namespace': 'kube-system',
          'k8s:k8s-app': 'kube-dns',
        },
      },
    ],
    toPorts: [
      { ports: [{ port: '53', protocol: 'ANY' }], rules: { dns: [{ matchPattern: '*' }] } },
    ],
  };
  const ports = [...new Set(wanted.map(({ port }) => port))];
  const byPort = ports.map((port) => ({
    toFQDNs: wanted.filter((each) => each.port === port).map(({ host }) => ({ matchName: host })),
    toPorts: [{ ports: [{ port: String(port), protocol: 'TCP' }] }],
  }));
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: {
      name: component.replace('cilium', 'berth'),
      labels: { 'app.kubernetes.io/name': 'berth' },
    },
    spec: { endpointSelector: { matchLabels: { berth: 'server' } }, egress: [dns, ...byPort] },
  };
}

/** Returns the example profiles, with a default profile that changes nothing. */
function closedProfiles(): string {
  const path = 'manifests/examples/profiles.yaml';
  const text = readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
  const schema = '# yaml-language-server: $schema=../../../docs/profiles.schema.json\n';
  return `${schema}${header(path)}\ndefault: read-only\n${text.slice(text.indexOf('\nprofiles:'))}`;
}

function proxyList(): string {
  const lines = hosts.map(
    ({ host, why, optional }) =>
      `# ${why}${optional ? `; ${optional}` : ''}\n${optional ? '# ' : ''}${host}\n`,
  );
  return header('shared/hosts.ts') + lines.join('');
}

/**
 * Converts the base's pod to a patch. Every name gets a prefix and every port another number, so
 * that they do not collide with the existing pod. Settings of the whole pod move to the containers,
 * except the group of the volumes.
 */
function attach(deployment: IDeployment) {
  const { strategy, replicas, template } = deployment.spec ?? {};
  const { terminationGracePeriodSeconds, securityContext, initContainers, containers, volumes } =
    template?.spec ?? {};
  const { fsGroup, fsGroupChangePolicy, ...confined } = securityContext ?? {};
  const attached = (container: IContainer): IContainer => ({
    ...container,
    name: `berth-${container.name}`,
    env: [...(container.env ?? []), ...listen(container)],
    ports: container.ports?.map(({ name, containerPort }) => ({
      name: `berth-${name}`,
      containerPort: containerPort + 10_000,
    })),
    ...Object.fromEntries(
      (['startupProbe', 'livenessProbe', 'readinessProbe'] as const).flatMap((probe) => {
        const found = container[probe];
        if (!found?.httpGet) return [];
        const httpGet = { ...found.httpGet, port: `berth-${found.httpGet.port}` };
        return [[probe, { ...found, httpGet }]];
      }),
    ),
    securityContext: { ...confined, ...container.securityContext },
    volumeMounts: [
      ...(container.volumeMounts ?? []).map((mount) => ({ ...mount, name: `berth-${mount.name}` })),
      // Kubernetes mounts no token of the pod's account over an existing mount.
      {
        name: 'berth-no-token',
        mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
        readOnly: true,
      },
    ],
  });
  return {
    apiVersion: deployment.apiVersion,
    kind: deployment.kind,
    metadata: { name: 'any' },
    spec: {
      replicas,
      strategy: { ...strategy, rollingUpdate: null },
      template: {
        metadata: { labels: { berth: 'server' } },
        spec: {
          terminationGracePeriodSeconds,
          securityContext: { fsGroup, fsGroupChangePolicy },
          initContainers: initContainers?.map(attached),
          containers: containers?.map(attached),
          volumes: [
            ...(volumes ?? []).map((volume) => ({ ...volume, name: `berth-${volume.name}` })),
            { name: 'berth-no-token', emptyDir: {} },
          ],
        },
      },
    },
  };
}

function listen({ ports = [] }: IContainer) {
  return ports.map(({ name, containerPort }) => ({
    name: `BERTH_${name?.toUpperCase()}_LISTEN`,
    value: `:${containerPort + 10_000}`,
  }));
}

function serve(service: { spec: { ports: { targetPort: string }[] } }) {
  const ports = service.spec.ports.map((port) => ({
    ...port,
    targetPort: `berth-${port.targetPort}`,
  }));
  return { ...service, spec: { ...service.spec, ports } };
}

function header(source: string): string {
  return `# Generated by \`npm run docs\` from ${source}; do not edit.\n`;
}

function write(value: unknown): string {
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
}

function readText(name: string): string {
  return readFileSync(new URL(name, base), 'utf8');
}

function readBase(name: string) {
  return parse(readText(name), { version: '1.1' });
}
