/**
 * What policies of Cilium let out: DNS through Cilium's own proxy, without which no name has an address
 * there, names (hosts.ts has which), and the API server. Policies add up, so each pod is judged by all
 * that select it.
 */
import type { ICiliumNetworkPolicy } from '@kubernetes-models/cilium/cilium.io/v2/CiliumNetworkPolicy';
import type { Manifest, Pod } from '../manifests.ts';
import { isSelector, select } from './selection.ts';

type Rule = NonNullable<NonNullable<ICiliumNetworkPolicy['spec']>['egress']>[number];

const nameServers = ['kube-dns', 'node-local-dns'];
/** That of NodeLocal DNSCache on each node. */
const nodeLocal = '169.254.20.10/32';
const ofApiServer = ['443 TCP', '6443 TCP'];

export function ciliumProblems(manifests: readonly Manifest[], pods: readonly Pod[]): string[] {
  const policies = manifests.filter(
    ({ kind }) => kind === 'CiliumNetworkPolicy',
  ) as unknown as ICiliumNetworkPolicy[];
  const selecting = (pod: Pod, { spec }: ICiliumNetworkPolicy) =>
    select([pod], spec?.endpointSelector?.matchLabels).length > 0;
  return [
    ...policies
      .filter((policy) => !pods.some((pod) => selecting(pod, policy)))
      .map(({ metadata }) => `CiliumNetworkPolicy ${metadata.name} selects no pod`),
    ...policies.flatMap(({ metadata, spec }) =>
      (spec?.egress ?? []).flatMap(ruleProblems).map((said) => `${metadata.name} ${said}`),
    ),
    ...pods.flatMap((pod) => {
      const own = policies.filter((policy) => selecting(pod, policy));
      const rules = own.flatMap(({ spec }) => spec?.egress ?? []);
      const open = rules.some((rule) => rule.toEndpoints?.some(isServer('kube-dns')));
      return own.length === 0 || open ? [] : [`${pod.name} is not let out to DNS`];
    }),
  ];
}

function isServer(name: string) {
  const labels = { 'k8s:io.kubernetes.pod.namespace': 'kube-system', 'k8s:k8s-app': name };
  return ({ matchLabels }: NonNullable<Rule['toEndpoints']>[number]) =>
    isSelector(matchLabels as Record<string, string> | undefined, labels);
}

function ruleProblems(rule: Rule): string[] {
  const { toPorts = [], ...more } = rule;
  const [to, another] = Object.keys(more);
  if (!to || another) return ['has a rule that is not for one thing'];
  const ports = toPorts.flatMap(({ ports = [] }) =>
    ports.map(({ port, protocol = 'ANY' }) => `${port} ${protocol}`),
  );
  if (ports.length === 0) return ['opens all ports'];
  const { toEndpoints = [], toEntities = [], toCIDR = [] } = rule;
  switch (to) {
    case 'toFQDNs':
      return [];
    case 'toEntities':
      return [
        ...toEntities.filter((name) => name !== 'kube-apiserver').map((name) => `opens ${name}`),
        ...ports.filter((port) => !ofApiServer.includes(port)).map((port) => `opens port ${port}`),
      ];
    case 'toEndpoints':
    case 'toCIDR':
      return [
        ...toEndpoints
          .filter((each) => !nameServers.some((name) => isServer(name)(each)))
          .map(({ matchLabels }) => `opens ${JSON.stringify(matchLabels ?? {})}`),
        ...toCIDR.filter((cidr) => cidr !== nodeLocal).map((cidr) => `opens ${cidr}`),
        ...(ports.join() === '53 ANY' ? [] : [`opens ${ports} for DNS`]),
        ...(JSON.stringify(toPorts[0]?.rules) === '{"dns":[{"matchPattern":"*"}]}'
          ? []
          : ['has DNS go past the proxy of Cilium']),
      ];
    default:
      return [`opens ${to}`];
  }
}
