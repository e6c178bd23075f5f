/**
 * The lists of names that are let out to: those of shared/hosts.ts, all of them and no others, and an
 * egress proxy that holds to its list.
 */
import type { ICiliumNetworkPolicy } from '@kubernetes-models/cilium/cilium.io/v2/CiliumNetworkPolicy';
import { hosts } from '../../../shared/hosts.ts';
import { all, type Manifest } from '../manifests.ts';

/** Without a policy there is no list to be right. */
export function hostProblems(manifests: readonly Manifest[]): string[] {
  const policies = manifests.filter(
    ({ kind }) => kind === 'CiliumNetworkPolicy',
  ) as unknown as ICiliumNetworkPolicy[];
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
    ...all(manifests, 'ConfigMap').flatMap(({ data }) => squidProblems(data?.['squid.conf'])),
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

/** What says who may go where, in the order in which Squid goes through it. */
const accessLines = [
  'http_port 3128',
  'acl wanted dstdomain -n "/etc/berth-egress-proxy/hosts.txt"',
  'acl https port 443',
  'acl CONNECT method CONNECT',
  'http_access allow CONNECT wanted https',
  'http_access deny all',
];

function squidProblems(configuration: string | undefined): string[] {
  if (configuration === undefined) return [];
  const lines = configuration
    .split('\n')
    .filter((line) => /^\s*(acl|include|cache_peer|\w+_(access|port))\b/.test(line));
  return [
    ...lines.filter((line) => !accessLines.includes(line)).map((line) => `Squid has "${line}"`),
    ...accessLines.filter((line) => !lines.includes(line)).map((line) => `Squid lacks "${line}"`),
    ...(lines.indexOf('http_access deny all') < lines.length - 1 ? ['Squid denies too early'] : []),
  ];
}
