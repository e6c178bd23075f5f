/**
 * Who reaches berth: each Service, Ingress, ServiceMonitor and policy must select something that is
 * there, by ports that are there, and an Ingress must let through what berth takes. What is let out is
 * the concern of egress.ts and cilium.ts.
 */

import type { ICiliumNetworkPolicy } from '@kubernetes-models/cilium/cilium.io/v2/CiliumNetworkPolicy';
import type { IServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor';
import type { IIngress } from 'kubernetes-models/networking.k8s.io/v1/Ingress';
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import type { IService } from 'kubernetes-models/v1/Service';
import { readSupervisorConfig } from '../../../supervisor/config.ts';
import { encodedBytes } from '../../../supervisor/http/attachment-fields.ts';
import { all, type Manifest, type Pod, podsOf } from '../manifests.ts';
import { ciliumProblems } from './cilium.ts';
import { egressProblems } from './egress.ts';
import { hostProblems } from './hosts.ts';
import { matches, portsOf, select } from './selection.ts';
import { environmentOf } from './settings.ts';

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
    ...every(manifests, 'Ingress').flatMap((ingress) => [
      ...ingressProblems(ingress, services),
      ...proxyingProblems(ingress, manifests),
    ]),
    ...every(manifests, 'ServiceMonitor').flatMap((each) => monitorProblems(each, services)),
    ...every(manifests, 'NetworkPolicy').flatMap((policy) => policyProblems(policy, pods)),
    ...egressProblems(every(manifests, 'NetworkPolicy'), pods),
    ...ciliumProblems(manifests, pods),
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

/** ingress-nginx lets 60 s and 1 MiB through, and gathers what is streamed. */
function proxyingProblems({ metadata }: IIngress, manifests: readonly Manifest[]): string[] {
  const annotation = (name: string) =>
    metadata?.annotations?.[`nginx.ingress.kubernetes.io/proxy-${name}`] ?? '';
  const runtime = podsOf(manifests)
    .flatMap(({ spec }) => spec.containers)
    .find(({ name }) => /^(berth-)?runtime$/.test(name));
  if (!runtime) return ['Ingress: there is no runtime'];
  const { config } = readSupervisorConfig({
    ...environmentOf(runtime, manifests),
    BERTH_REPO: 'you/dot-claude',
    // The file of a Secret, which is not here.
    BERTH_REDIS_URL_FILE: '',
  });
  const [, number = 0, unit = ''] = /^(\d+)([kmg]?)$/.exec(annotation('body-size')) ?? [];
  const bytes = Number(number) * 1024 ** ['', 'k', 'm', 'g'].indexOf(unit);
  return [
    ...(Number(annotation('read-timeout')) * 1_000 > config.promptTimeout
      ? []
      : ['Ingress: gives up before BERTH_PROMPT_TIMEOUT']),
    ...(bytes >= config.maxPromptBytes + encodedBytes(config.attachmentMaxSize)
      ? []
      : ['Ingress: refuses less than BERTH_MAX_PROMPT_BYTES with BERTH_ATTACHMENT_MAX_SIZE']),
    ...(annotation('buffering') === 'off' ? [] : ['Ingress: gathers what is streamed']),
  ];
}

function monitorProblems({ spec }: IServiceMonitor, services: readonly IService[]): string[] {
  const found = services.filter(({ metadata }) =>
    matches(metadata?.labels, spec.selector.matchLabels),
  );
  if (found.length === 0) return ['ServiceMonitor: selects no Service'];
  const names = found.flatMap((service) => service.spec?.ports?.map(({ name }) => name) ?? []);
  return [
    ...spec.endpoints
      .filter(({ port }) => !names.includes(port))
      .map(({ port }) => `ServiceMonitor: its Services have no port ${port}`),
    ...spec.endpoints
      .filter(({ port, path = '/metrics' }) => port === 'http' || path !== '/metrics')
      .map(({ port, path }) => `ServiceMonitor: there are no metrics at ${port}${path}`),
  ];
}

function policyProblems({ metadata, spec }: INetworkPolicy, pods: readonly Pod[]): string[] {
  const problems: string[] = [];
  const name = `NetworkPolicy ${metadata?.name}`;
  const selected = select(pods, spec?.podSelector?.matchLabels);
  if (selected.length === 0) problems.push(`${name} selects no pod`);
  const own = selected.flatMap(portsOf);
  for (const { from = [], ports = [] } of spec?.ingress ?? []) {
    if (from.length === 0) problems.push(`${name} lets everybody in`);
    for (const { podSelector, namespaceSelector } of from) {
      const there = namespaceSelector || select(pods, podSelector?.matchLabels).length > 0;
      if (!there) problems.push(`${name} lets in from no pod`);
    }
    for (const { port } of ports) {
      const known = own.some((each) => each.name === port || each.containerPort === port);
      if (!known) problems.push(`${name} lets in to port ${port}, which no container has`);
    }
  }
  return problems;
}
