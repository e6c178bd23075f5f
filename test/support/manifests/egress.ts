/**
 * What plain policies let out: DNS at the cluster's name servers, from the pod to the egress proxy, from
 * the proxy to port 443, and single addresses at ports that are known. Policies add up, so each pod is
 * judged by all that select it.
 */
import type { INetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import type { Pod } from '../manifests.ts';
import { isSelector, portsOf, select } from './selection.ts';

type Spec = NonNullable<INetworkPolicy['spec']>;
type Rule = NonNullable<Spec['egress']>[number];
type Peer = NonNullable<Rule['to']>[number];

/** NodeLocal DNSCache and the API server are reached by address. */
const portsOfAddresses = ['UDP 53', 'TCP 53', 'TCP 443', 'TCP 6443'];

export function egressProblems(policies: readonly INetworkPolicy[], pods: readonly Pod[]) {
  return pods.flatMap((pod) => {
    const own = policies.filter(
      ({ spec }) => spec?.egress && select([pod], spec.podSelector?.matchLabels).length > 0,
    );
    const rules = own.flatMap(({ spec }) => spec?.egress ?? []);
    if (own.length === 0) return [];
    return [
      ...own
        .filter(({ spec }) => !spec?.policyTypes?.includes('Egress'))
        .map(({ metadata }) => `NetworkPolicy ${metadata?.name} lets out to everything`),
      ...rules.flatMap((rule) => ruleProblems(pod, rule, pods)),
      ...['UDP 53', 'TCP 53']
        .filter((port) => !rules.some((rule) => isForDns(rule) && portsIn(rule).includes(port)))
        .map((port) => `${pod.name} is not let out to DNS at ${port}`),
      ...(isProxy(pod)
        ? lacks(pod, 'TCP 443', rules, ({ to }) => to === undefined)
        : lacks(pod, 'the proxy', rules, ({ to = [] }) => to.some((peer) => leadsTo(peer, pods)))),
    ];
  });
}

function isProxy({ labels }: Pod): boolean {
  return labels['app.kubernetes.io/name'] === 'berth-egress-proxy';
}

function lacks(pod: Pod, what: string, rules: Rule[], is: (rule: Rule) => boolean): string[] {
  return rules.some(is) ? [] : [`${pod.name} is not let out to ${what}`];
}

function portsIn({ ports = [] }: Rule): string[] {
  return ports.map(({ protocol = 'TCP', port, endPort }) =>
    endPort === undefined ? `${protocol} ${port}` : `${protocol} ${port} to ${endPort}`,
  );
}

function isDnsServer({ namespaceSelector, podSelector }: Peer): boolean {
  const inSystem = { 'kubernetes.io/metadata.name': 'kube-system' };
  return (
    isSelector(namespaceSelector?.matchLabels, inSystem) &&
    isSelector(podSelector?.matchLabels, { 'k8s-app': 'kube-dns' })
  );
}

function isForDns({ to = [] }: Rule): boolean {
  return to.some(isDnsServer);
}

function leadsTo({ podSelector, namespaceSelector }: Peer, pods: readonly Pod[]): boolean {
  return !namespaceSelector && select(pods, podSelector?.matchLabels).some(isProxy);
}

function ruleProblems(pod: Pod, rule: Rule, pods: readonly Pod[]): string[] {
  const ports = portsIn(rule);
  const beyond = (known: readonly string[]) =>
    ports.filter((port) => !known.includes(port)).map((port) => `${pod.name}: ${port} is open`);
  if (ports.length === 0) return [`${pod.name} is let out to all ports`];
  if (!rule.to?.length) {
    return isProxy(pod) ? beyond(['TCP 443']) : [`${pod.name} is let out to everything`];
  }
  return rule.to.flatMap((peer) => {
    if (peer.ipBlock) {
      const isOne = /^[\d.]+\/32$|^[\da-f:]+\/128$/.test(peer.ipBlock.cidr);
      return isOne ? beyond(portsOfAddresses) : [`${pod.name} is let out to ${peer.ipBlock.cidr}`];
    }
    if (isDnsServer(peer)) return beyond(['UDP 53', 'TCP 53']);
    if (peer.namespaceSelector) return [`${pod.name} is let out to pods elsewhere`];
    const { matchLabels = {} } = peer.podSelector ?? {};
    const target = select(pods, matchLabels);
    if (Object.keys(matchLabels).length === 0) return [`${pod.name} is let out to every pod`];
    const numbers = target.flatMap(portsOf).map(({ containerPort }) => `TCP ${containerPort}`);
    if (target.length === 0) return [`${pod.name} is let out to no pod`];
    return beyond(numbers);
  });
}
