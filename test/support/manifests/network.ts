/**
 * Who reaches whom: each Service, Ingress, ServiceMonitor and policy must select something that is
 * there, by ports that are there, and the policies must let out to the hosts of shared/hosts.ts, all
 * of them and no others.
 */
import type { ICiliumNetworkPolicy } from '@kubernetes-models/cilium/cilium.io/v2/CiliumNetworkPolicy';
import type { IServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor';
import type { IIngress } from 'kubernetes-models/networking.k8s.io/v1/Ingress';
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import type { IService } from 'kubernetes-models/v1/Service';
import { hosts } from '../../../shared/hosts.ts';
import { all, containersOf, type Manifest, type Pod, podsOf } from '../manifests.ts';

type Labels = Record<string, string> | undefined;

interface Kinds {
  CiliumNetworkPolicy: ICiliumNetworkPolicy;
  Ingress: IIngress;
  NetworkPolicy: INetworkPolicy;
  ServiceMonitor: IServiceMonitor;
}

function every<K extends keyof Kinds>(manifests: readonly Manifest[], kind: K): Kinds[K][] {
  return manifests.filter((manifest) => manifest.kind === kind) as unknown as Kinds[K][];
}

export function networkProblems(manifests: readonly Manifest[]): string[] {
  const pods = podsOf(manifests);
  const services = all(manifests, 'Service');
  return [
    ...services.flatMap((service) => serviceProblems(service, pods)),
    ...every(manifests, 'Ingress').flatMap((ingress) => ingressProblems(ingress, services)),
    ...every(manifests, 'ServiceMonitor').flatMap((each) => monitorProblems(each, services)),
    ...every(manifests, 'NetworkPolicy').flatMap((policy) => policyProblems(policy, pods)),
    ...every(manifests, 'CiliumNetworkPolicy').flatMap(({ metadata, spec }) =>
      select(pods, spec?.endpointSelector?.matchLabels).length > 0
        ? []
        : [`CiliumNetworkPolicy ${metadata.name} selects no pod`],
    ),
    ...hostProblems(manifests),
    ...apiServerProblems(manifests, pods),
  ];
}

/** Whoever bears a Kubernetes token must reach the API server, where a policy bounds its egress. */
function apiServerProblems(manifests: readonly Manifest[], pods: readonly Pod[]): string[] {
  const bearers = pods.filter(({ spec }) =>
    spec.volumes?.some(({ projected }) =>
      projected?.sources?.some(({ serviceAccountToken }) => serviceAccountToken),
    ),
  );
  const rules = ({ labels }: Pod) => [
    ...every(manifests, 'CiliumNetworkPolicy')
      .filter(({ spec }) => matches(labels, spec?.endpointSelector?.matchLabels))
      .flatMap(({ spec }) => spec?.egress ?? [])
      .map(({ toEntities }) => toEntities?.includes('kube-apiserver')),
    ...every(manifests, 'NetworkPolicy')
      .filter(({ spec }) => matches(labels, spec?.podSelector?.matchLabels))
      .flatMap(({ spec }) => spec?.egress ?? [])
      .map(({ to }) => to?.some(({ ipBlock }) => ipBlock)),
  ];
  return bearers
    .filter((pod) => rules(pod).length > 0 && !rules(pod).includes(true))
    .map(({ name }) => `${name} has a Kubernetes token and cannot reach the API server`);
}

function select(pods: readonly Pod[], wanted: Labels): Pod[] {
  return pods.filter(({ labels }) => matches(labels, wanted));
}

function matches(labels: Labels = {}, wanted: Labels = {}): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value);
}

function portsOf({ spec }: Pod) {
  return containersOf(spec).flatMap(({ ports = [] }) => ports);
}

function serviceProblems({ metadata, spec }: IService, pods: readonly Pod[]): string[] {
  const selected = select(pods, spec?.selector);
  if (selected.length !== 1) return [`Service ${metadata?.name} selects ${selected.length} pods`];
  const ports = selected.flatMap(portsOf);
  return (spec?.ports ?? [])
    .map(({ targetPort }) => targetPort)
    .filter((port) => !ports.some((each) => each.name === port || each.containerPort === port))
    .map((port) => `Service ${metadata?.name} leads to port ${port}, which no container has`);
}

function ingressProblems({ spec }: IIngress, services: readonly IService[]): string[] {
  const tls = (spec?.tls ?? []).flatMap((each) => each.hosts ?? []);
  return (spec?.rules ?? []).flatMap(({ host, http }) => [
    ...(host && tls.includes(host) ? [] : [`Ingress: ${host} has no TLS`]),
    ...(http?.paths ?? []).flatMap(({ backend }) => {
      const { name, port } = backend.service ?? {};
      const service = services.find(({ metadata }) => metadata?.name === name);
      if (!service) return [`Ingress: no Service ${name}`];
      const known = service.spec?.ports?.some((each) => each.name === port?.name);
      if (!known) return [`Ingress: Service ${name} has no port ${port?.name}`];
      // Whoever reaches it needs no token.
      return port?.name === 'metrics' ? ['Ingress: leads to the metrics'] : [];
    }),
  ]);
}

function monitorProblems({ spec }: IServiceMonitor, services: readonly IService[]): string[] {
  const found = services.filter(({ metadata }) =>
    matches(metadata?.labels, spec.selector.matchLabels),
  );
  if (found.length === 0) return ['ServiceMonitor: selects no Service'];
  const names = found.flatMap((service) => service.spec?.ports?.map(({ name }) => name) ?? []);
  return spec.endpoints
    .filter(({ port }) => !names.includes(port))
    .map(({ port }) => `ServiceMonitor: its Services have no port ${port}`);
}

function policyProblems({ metadata, spec }: INetworkPolicy, pods: readonly Pod[]): string[] {
  const problems: string[] = [];
  const name = `NetworkPolicy ${metadata?.name}`;
  const selected = select(pods, spec?.podSelector?.matchLabels);
  if (selected.length === 0) problems.push(`${name} selects no pod`);
  const own = selected.flatMap(portsOf);
  for (const { from = [], ports = [] } of spec?.ingress ?? []) {
    for (const { podSelector, namespaceSelector } of from) {
      const there = namespaceSelector || select(pods, podSelector?.matchLabels).length > 0;
      if (!there) problems.push(`${name} lets in from no pod`);
    }
    for (const { port } of ports) {
      const known = own.some((each) => each.name === port || each.containerPort === port);
      if (!known) problems.push(`${name} lets in to port ${port}, which no container has`);
    }
  }
  for (const { to = [], ports = [] } of spec?.egress ?? []) {
    for (const { podSelector, namespaceSelector, ipBlock } of to) {
      if (namespaceSelector || ipBlock) continue;
      const target = select(pods, podSelector?.matchLabels).flatMap(portsOf);
      const reached = ports.every(({ port }) => target.some((each) => each.containerPort === port));
      if (target.length === 0 || !reached) problems.push(`${name} lets out to no pod and port`);
    }
  }
  return problems;
}

/** Without a policy there is no list to be right. */
function hostProblems(manifests: readonly Manifest[]): string[] {
  const policies = every(manifests, 'CiliumNetworkPolicy');
  const rules = policies.flatMap(({ spec }) => spec?.egress ?? []);
  const byName = rules.filter(({ toFQDNs }) => toFQDNs);
  const lists = all(manifests, 'ConfigMap').flatMap(({ data }) => data?.['hosts.txt'] ?? []);
  if (policies.length === 0 && lists.length === 0) return [];
  const open = [
    ...byName.flatMap(({ toFQDNs = [] }) => toFQDNs.map((each) => each.matchName ?? 'a pattern')),
    ...lists.flatMap((list) => list.split('\n').filter((line) => /^[^#]/.test(line))),
  ];
  const tight = policies.some(({ metadata }) => /anthropic-only$/.test(metadata.name ?? ''));
  const wanted = hosts.filter(({ optional, who }) => !optional && (!tight || who === 'runtime'));
  const ports = byName.flatMap(({ toPorts = [] }) => toPorts.flatMap((each) => each.ports ?? []));
  return [
    ...wanted
      .filter(({ host }) => !open.includes(host))
      .map(({ host, why }) => `${host} cannot be reached (${why})`),
    ...open
      .filter((name) => !hosts.some(({ host }) => host === name))
      .map((name) => `${name} is open and nothing needs it`),
    ...(byName.some(({ toPorts = [] }) => toPorts.length === 0) ? ['all ports are open'] : []),
    ...ports
      .filter(({ port, protocol }) => port !== '443' || protocol !== 'TCP')
      .map(({ port }) => `port ${port} is open and nothing needs it`),
  ];
}
