/** Planted mistakes that test/series/manifests/mistakes.test.ts has found: their form, and those of networks. */

export interface Mistake {
  mistake: string;
  /** The component that has it; the base by default. */
  in?: string;
  /** What stands in the manifests as JSON, and what it is by mistake; every occurrence. */
  change: [from: string | RegExp, to: string];
  found: RegExp;
}

/** A ServiceMonitor with these fields at its endpoint. */
export const endpoint = (fields: object) => ({
  apiVersion: 'monitoring.coreos.com/v1',
  kind: 'ServiceMonitor',
  metadata: { name: 'berth' },
  spec: {
    selector: { matchLabels: { 'app.kubernetes.io/name': 'berth' } },
    endpoints: [{ port: 'metrics', ...fields }],
  },
});
/** An alert with these fields. */
export const rule = (fields: object) => ({
  apiVersion: 'monitoring.coreos.com/v1',
  kind: 'PrometheusRule',
  metadata: { name: 'berth' },
  spec: { groups: [{ name: 'berth', rules: [{ alert: 'BerthDown', ...fields }] }] },
});
/** Puts one more manifest at the front. */
export const add = (manifest: object): [RegExp, string] => [/^\[/, `[${JSON.stringify(manifest)},`];

export const networkMistakes: readonly Mistake[] = [
  // Ports and labels.
  {
    mistake: 'a probe of a port that has another name',
    change: ['"path":"/readyz","port":"metrics"', '"path":"/readyz","port":"probes"'],
    found: /^a probe of runtime asks port probes, which it does not have$/,
  },
  {
    mistake: 'a Service that leads to another port',
    change: ['"targetPort":"http"', '"targetPort":"web"'],
    found: /^Service berth leads to port web, which no container has$/,
  },
  {
    mistake: 'a Service that selects nothing',
    change: ['"selector":{"berth":"server"}', '"selector":{"app":"berth"}'],
    found: /^Service berth selects 0 pods$/,
  },
  {
    mistake: 'an Ingress that shows the metrics',
    in: 'ingress',
    change: ['"port":{"name":"http"}', '"port":{"name":"metrics"}'],
    found: /^Ingress: leads to the metrics$/,
  },
  {
    mistake: 'an Ingress whose TLS is for another host',
    in: 'ingress',
    change: ['"hosts":["berth.example.com"]', '"hosts":["example.com"]'],
    found: /^Ingress: berth.example.com has no TLS$/,
  },
  {
    mistake: 'a policy that selects nothing',
    in: 'network-policy',
    change: [
      '"podSelector":{"matchLabels":{"berth":"server"}},"policyTypes"',
      '"podSelector":{"matchLabels":{"app":"berth"}},"policyTypes"',
    ],
    found: /^NetworkPolicy berth-egress selects no pod$/,
  },
  {
    mistake: 'a ServiceMonitor of a port that the Service does not have',
    change: add(endpoint({ port: 'prometheus' })),
    found: /^ServiceMonitor: its Services have no port prometheus$/,
  },
  {
    mistake: 'a ServiceMonitor of another path',
    in: 'monitoring',
    change: ['"path":"/metrics"', '"path":"/metric"'],
    found: /^ServiceMonitor: there are no metrics at metrics\/metric$/,
  },
  {
    mistake: 'a ServiceMonitor of the API',
    in: 'monitoring',
    change: ['"port":"metrics"}]', '"port":"http"}]'],
    found: /^ServiceMonitor: there are no metrics at http/,
  },
  {
    mistake: 'an Ingress without annotations',
    in: 'ingress',
    change: [/"annotations":\{"cert[^}]+\},/, ''],
    found: /^Ingress: gives up before BERTH_PROMPT_TIMEOUT$/,
  },
  {
    mistake: 'an Ingress whose time-out is that of ingress-nginx',
    in: 'ingress',
    change: ['proxy-read-timeout":"300"', 'proxy-read-timeout":"60"'],
    found: /^Ingress: gives up before BERTH_PROMPT_TIMEOUT$/,
  },
  {
    mistake: 'an Ingress that lets less through than berth takes',
    in: 'ingress',
    change: ['proxy-body-size":"16m"', 'proxy-body-size":"8m"'],
    found: /^Ingress: refuses less than BERTH_MAX_PROMPT_BYTES with BERTH_ATTACHMENT_MAX_SIZE$/,
  },
  {
    mistake: 'an Ingress that buffers',
    in: 'ingress',
    change: ['proxy-buffering":"off"', 'proxy-buffering":"on"'],
    found: /^Ingress: gathers what is streamed$/,
  },
  // Egress.
  {
    mistake: 'a host that was dropped',
    in: 'cilium-egress',
    change: ['{"matchName":"platform.claude.com"},', ''],
    found: /^platform.claude.com cannot be reached/,
  },
  {
    mistake: 'a host that nothing needs',
    in: 'cilium-egress',
    change: ['"matchName":"github.com"', '"matchName":"gitlab.com"'],
    found: /^gitlab.com is open and nothing needs it$/,
  },
  {
    mistake: 'a pattern for all of GitHub',
    in: 'cilium-egress',
    change: ['"matchName":"github.com"', '"matchPattern":"*.github.com"'],
    found: /^a pattern is open and nothing needs it$/,
  },
  {
    mistake: 'an open port 80',
    in: 'cilium-egress',
    change: [
      '{"port":"443","protocol":"TCP"}',
      '{"port":"443","protocol":"TCP"},{"port":"80","protocol":"TCP"}',
    ],
    found: /^port 80 is open and nothing needs it$/,
  },
  {
    mistake: 'write-back behind a policy that knows nothing of the API server',
    in: 'write-back',
    change: add({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'tight' },
      spec: {
        podSelector: { matchLabels: { berth: 'server' } },
        policyTypes: ['Egress'],
        egress: [{ to: [{ namespaceSelector: {} }], ports: [{ port: 53, protocol: 'UDP' }] }],
      },
    }),
    found: /^berth has a Kubernetes token and cannot reach the API server$/,
  },
  {
    mistake: 'a host that was dropped from the list of the proxy',
    in: 'network-policy',
    change: ['\\napi.anthropic.com', ''],
    found: /^api.anthropic.com cannot be reached/,
  },
  {
    mistake: 'a rule of egress without a destination',
    in: 'network-policy',
    change: ['"egress":[', '"egress":[{},'],
    found: /^berth is let out to all ports$/,
  },
  {
    mistake: 'a port that is open to everybody',
    in: 'network-policy',
    change: ['"egress":[', '"egress":[{"ports":[{"port":443,"protocol":"TCP"}]},'],
    found: /^berth is let out to everything$/,
  },
  {
    mistake: 'an address range',
    in: 'network-policy',
    change: [
      '"egress":[',
      '"egress":[{"ports":[{"port":443}],"to":[{"ipBlock":{"cidr":"0.0.0.0/0"}}]},',
    ],
    found: /^berth is let out to 0.0.0.0\/0$/,
  },
  {
    mistake: 'another port of one address',
    in: 'network-policy',
    change: [
      '"egress":[',
      '"egress":[{"ports":[{"port":22}],"to":[{"ipBlock":{"cidr":"10.0.0.1/32"}}]},',
    ],
    found: /^berth: TCP 22 is open$/,
  },
  {
    mistake: 'no DNS over UDP',
    in: 'network-policy',
    change: ['{"port":53,"protocol":"UDP"}', '{"port":53,"protocol":"TCP"}'],
    found: /^berth is not let out to DNS at UDP 53$/,
  },
  {
    mistake: 'no DNS over TCP',
    in: 'network-policy',
    change: ['{"port":53,"protocol":"TCP"}', '{"port":53,"protocol":"UDP"}'],
    found: /^berth-egress-proxy is not let out to DNS at TCP 53$/,
  },
  {
    mistake: 'DNS servers of another label',
    in: 'network-policy',
    change: ['"k8s-app":"kube-dns"', '"k8s-app":"coredns"'],
    found: /^berth is not let out to DNS at UDP 53$/,
  },
  {
    mistake: 'DNS servers of any namespace',
    in: 'network-policy',
    change: [
      '"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"kube-system"}}',
      '"namespaceSelector":{}',
    ],
    found: /^berth is let out to pods elsewhere$/,
  },
  {
    mistake: 'another port of the proxy to the internet',
    in: 'network-policy',
    change: ['{"port":443,"protocol":"TCP"}', '{"port":80,"protocol":"TCP"}'],
    found: /^berth-egress-proxy: TCP 80 is open$/,
  },
  {
    mistake: 'a proxy without a way out',
    in: 'network-policy',
    change: [',{"ports":[{"port":443,"protocol":"TCP"}]}', ''],
    found: /^berth-egress-proxy is not let out to TCP 443$/,
  },
  {
    mistake: 'a pod without a way to the proxy',
    in: 'network-policy',
    change: [
      ',{"ports":[{"port":3128,"protocol":"TCP"}],"to":[{"podSelector":{"matchLabels":{"app.kubernetes.io/name":"berth-egress-proxy"}}}]}',
      '',
    ],
    found: /^berth is not let out to the proxy$/,
  },
  {
    mistake: 'a proxy for every pod',
    in: 'network-policy',
    change: ['"from":[{"podSelector":{"matchLabels":{"berth":"server"}}}],', ''],
    found: /^NetworkPolicy berth-egress-proxy lets everybody in$/,
  },
  {
    mistake: 'a policy that is not one of egress',
    in: 'network-policy',
    change: ['"policyTypes":["Egress"]', '"policyTypes":["Ingress"]'],
    found: /^NetworkPolicy berth-egress lets out to everything$/,
  },
  {
    mistake: 'a Squid that allows all',
    in: 'network-policy',
    change: ['http_access deny all', 'http_access allow all'],
    found: /^Squid has "http_access allow all"$/,
  },
  {
    mistake: 'a Squid that does not look at names',
    in: 'network-policy',
    change: ['allow CONNECT wanted https', 'allow CONNECT https'],
    found: /^Squid lacks "http_access allow CONNECT wanted https"$/,
  },
  {
    mistake: 'a Squid that refuses before it allows',
    in: 'network-policy',
    change: [/(http_access allow CONNECT wanted https)\\n(http_access deny all)/, '$2\\n$1'],
    found: /^Squid denies too early$/,
  },
  {
    mistake: 'all subdomains of a host',
    in: 'network-policy',
    change: ['\\napi.github.com', '\\n.github.com'],
    found: /^\.github.com is open and nothing needs it$/,
  },
  {
    mistake: 'the world for the API server',
    in: 'cilium-egress-kubernetes-api',
    change: ['kube-apiserver"]', 'world"]'],
    found: /^berth-egress-kubernetes-api opens world$/,
  },
  {
    mistake: 'another port of the API server',
    in: 'cilium-egress-kubernetes-api',
    change: ['"port":"6443"', '"port":"22"'],
    found: /^berth-egress-kubernetes-api opens port 22 TCP$/,
  },
  {
    mistake: 'all addresses',
    in: 'cilium-egress',
    change: [
      '"egress":[',
      '"egress":[{"toCIDR":["0.0.0.0/0"],"toPorts":[{"ports":[{"port":"443"}]}]},',
    ],
    found: /^berth-egress opens 0.0.0.0\/0$/,
  },
  {
    mistake: 'the world',
    in: 'cilium-egress',
    change: [
      '"egress":[',
      '"egress":[{"toEntities":["world"],"toPorts":[{"ports":[{"port":"443"}]}]},',
    ],
    found: /^berth-egress opens world$/,
  },
  {
    mistake: 'every pod of the cluster',
    in: 'cilium-egress',
    change: [
      '"egress":[',
      '"egress":[{"toEndpoints":[{}],"toPorts":[{"ports":[{"port":"443"}]}]},',
    ],
    found: /^berth-egress opens \{\}$/,
  },
  {
    mistake: 'a rule of Cilium that is for nothing',
    in: 'cilium-egress',
    change: ['"egress":[', '"egress":[{},'],
    found: /^berth-egress has a rule that is not for one thing$/,
  },
  {
    mistake: 'an address range by another field',
    in: 'cilium-egress',
    change: [
      '"egress":[',
      '"egress":[{"toCIDRSet":[{"cidr":"0.0.0.0/0"}],"toPorts":[{"ports":[{"port":"443"}]}]},',
    ],
    found: /^berth-egress opens toCIDRSet$/,
  },
  {
    mistake: 'name servers of another label',
    in: 'cilium-egress',
    change: ['"k8s:k8s-app":"kube-dns"', '"k8s:k8s-app":"coredns"'],
    found: /^berth is not let out to DNS$/,
  },
  {
    mistake: 'no rule for DNS',
    in: 'cilium-egress',
    change: [/\{"toEndpoints":.*?\]\}\}\]\},/, ''],
    found: /^berth is not let out to DNS$/,
  },
  {
    mistake: 'DNS that Cilium does not see',
    in: 'cilium-egress',
    change: [',"rules":{"dns":[{"matchPattern":"*"}]}', ''],
    found: /^berth-egress has DNS go past the proxy of Cilium$/,
  },
];
