/**
 * Checks the network: hosts that init and the CLI need must be reachable, and another host must not
 * be. Egress is limited per pod, so the result for this container holds for init too.
 */
import type { Environment } from '../../shared/config.ts';
import { hosts, type WantedHost } from '../../shared/hosts.ts';
import { providers, selectsProvider } from '../../shared/login-variables.ts';
import { absent, type Finding, failed, ok, warning } from './check.ts';
import { reach, type Target } from './connect.ts';
import { usesFile } from './credentials.ts';

export interface Wanted extends Target {
  why: string;
  /** Why it is harmless if the host is not reachable. */
  spare?: string | undefined;
}

const remedies = {
  dns: 'check the name, and allow the pod to reach the name server: UDP and TCP 53 in its egress policy',
  connection: 'allow it in the egress policy of the pod (manifests/components), or set HTTPS_PROXY',
  proxy: 'allow the host and port in the proxy that HTTPS_PROXY names, or add it to NO_PROXY',
  certificate:
    'a proxy decrypts TLS: put its CA into a file and set NODE_EXTRA_CA_CERTS to the path',
} as const;

/** Hosts in settings that replace hosts of the list. */
interface Named {
  server: Target | undefined;
  githubApi: Target | undefined;
  model: Target | undefined;
  tarball: Target | undefined;
}

/** The hosts that are needed here: with another server, or another login, some are not. */
export function wantedHosts(environment: Environment): Wanted[] {
  const { BERTH_REPO, BERTH_GITHUB_API_URL, ANTHROPIC_BASE_URL, BERTH_CLAUDE_TARBALL } =
    environment;
  const named: Named = {
    // `owner/name` is not a URL: the repository is on github.com.
    server: hostOf(BERTH_REPO ?? ''),
    githubApi: hostOf(BERTH_GITHUB_API_URL ?? ''),
    model: hostOf(ANTHROPIC_BASE_URL ?? ''),
    tarball: hostOf(BERTH_CLAUDE_TARBALL ?? ''),
  };
  const others = [
    named.server && { ...named.server, why: 'serves the repository' },
    named.githubApi && { ...named.githubApi, why: 'BERTH_GITHUB_API_URL' },
    named.model && { ...named.model, why: 'ANTHROPIC_BASE_URL' },
    named.tarball && { ...named.tarball, why: 'BERTH_CLAUDE_TARBALL' },
  ].filter((each) => each !== undefined);
  const wanted = hosts
    // An address in a setting is needed itself.
    .filter((each) => !others.some((other) => isSame(each, other)))
    .map((each) => ({
      ...{ host: each.host, port: each.port, why: each.why },
      spare: spareIn(environment, each, named),
    }));
  const firsts = others.filter(
    (each, index) => others.findIndex((other) => isSame(each, other)) === index,
  );
  return [...firsts, ...wanted];
}

function isSame(one: Target, other: Target): boolean {
  return one.host === other.host && one.port === other.port;
}

function spareIn(
  environment: Environment,
  { host, optional }: WantedHost,
  { server, githubApi, model }: Named,
): string | undefined {
  if (optional !== undefined) return `needed only ${optional}`;
  if (host === 'console.anthropic.com') return 'only CLIs that are too old for berth connect to it';
  if (host === 'github.com') return server && `the repository is on ${nameOf(server)}`;
  if (host === 'api.github.com') {
    if (githubApi) return `GitHub's API is at ${nameOf(githubApi)}`;
    return onGitHub(environment) ? undefined : `the repository is on ${server && nameOf(server)}`;
  }
  const cloud = providers.find((name) => selectsProvider(environment, name));
  if (cloud) return `${cloud} is set`;
  if (host === 'api.anthropic.com') return model && `the model is on ${nameOf(model)}`;
  return usesFile(environment) ? undefined : 'a login by a variable is not refreshed';
}

/** Whether GitHub itself hosts the repository. */
export function onGitHub({ BERTH_REPO }: Environment): boolean {
  const server = hostOf(BERTH_REPO ?? '');
  return server === undefined || /^(www\.)?github\.com$/.test(server.host);
}

function nameOf({ host, port }: Target): string {
  return `${host}:${port}`;
}

/** Undefined if it is not an HTTP URL. */
export function hostOf(url: string): Target | undefined {
  if (!/^https?:/i.test(url) || !URL.canParse(url)) return undefined;
  const { hostname, port, protocol } = new URL(url);
  const tls = protocol === 'https:';
  const host = hostname.replace(/^\[|\]$/g, '');
  return { host, port: Number(port) || (tls ? 443 : 80), ...(tls ? { tls } : { tls, http: true }) };
}

export async function checkReachable(
  wanted: Wanted,
  environment: Environment,
  signal: AbortSignal,
): Promise<Finding> {
  const { host, port, why, spare } = wanted;
  const subject = `${host}:${port}`;
  const reached = await reach(wanted, environment, signal);
  if ('by' in reached) return ok(subject, `reachable: ${why}`);
  if (spare) return absent(subject, `it cannot be reached, which does no harm: ${spare}`);
  const step = { dns: 'its name', connection: 'it', proxy: 'it', certificate: 'its certificate' };
  const detail =
    reached.failed === 'certificate'
      ? `its certificate is not trusted (${reached.cause}); ${why}`
      : `${step[reached.failed]} cannot be reached (${reached.cause}); ${why}`;
  return failed(subject, detail, remedies[reached.failed]);
}

/**
 * Tests a host that nothing needs, to show whether egress is limited at all. It is also tested
 * without the proxy, because a malicious tool does not use the proxy.
 */
async function checkUnreachable(
  { host, port }: Target,
  environment: Environment,
  signal: AbortSignal,
): Promise<Finding> {
  const subject = `${host}:${port}`;
  const target = { host, port, tls: false };
  const [direct, asked] = await Promise.all([
    reach(target, {}, signal),
    reach(target, environment, signal),
  ]);
  if ('by' in direct) {
    return warning(
      subject,
      'it can be reached: nothing limits where the tools of the CLI can send data',
      'add an egress policy (manifests/components/cilium-egress or network-policy), and check that the network of the cluster enforces policies; docs/security.md describes the limits',
    );
  }
  if ('by' in asked) {
    return warning(
      subject,
      'it can be reached through the proxy of HTTPS_PROXY: tools of the CLI can send data there',
      'configure the proxy to allow only the required hosts, as manifests/components/network-policy/squid.conf does',
    );
  }
  return ok(subject, 'it cannot be reached, as it should be');
}

export async function checkEgress(
  environment: Environment,
  probe: Target,
  signal: AbortSignal,
): Promise<Finding[]> {
  return Promise.all([
    ...wantedHosts(environment).map((each) => checkReachable(each, environment, signal)),
    checkUnreachable(probe, environment, signal),
  ]);
}
