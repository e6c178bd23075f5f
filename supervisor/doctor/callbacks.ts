/**
 * Checks that the hosts of BERTH_CALLBACK_HOSTS can be reached, as the delivery of callbacks reaches them.
 * Invariant: no request is sent. Entries that name no single host (`*.suffix`, networks) cannot be checked.
 */
import type { Environment } from '../../shared/config.ts';
import type { AllowedHosts } from '../jobs/callbacks/allowed-hosts.ts';
import { absent, type Finding, failed, ok } from './check.ts';
import { reach } from './connect.ts';

const https = 443;

const remedies = {
  dns: 'check the name in BERTH_CALLBACK_HOSTS, and whether the pod reaches its name server',
  connection: 'allow the host and port in the egress policy of the pod (manifests/components)',
  proxy: 'allow the host and port in the proxy that HTTPS_PROXY names, or add it to NO_PROXY',
  certificate: 'put the CA of the host into a file and set NODE_EXTRA_CA_CERTS to the path',
} as const;

export async function checkCallbacks(
  hosts: Pick<AllowedHosts, 'isEmpty' | 'named'>,
  environment: Environment,
  signal: AbortSignal,
): Promise<Finding[]> {
  if (hosts.isEmpty) return [absent('BERTH_CALLBACK_HOSTS', 'not set: callback_url is refused')];
  const findings = await Promise.all(
    hosts.named.map(async ({ host, port = https }) => {
      const subject = `${host}:${port}`;
      // Only the default port tells whether callbacks use TLS.
      const reached = await reach({ host, port, tls: port === https }, environment, signal);
      if ('by' in reached) return ok(subject, `reached by a ${reached.by}`);
      return failed(
        subject,
        `callbacks cannot be delivered: ${reached.cause}`,
        remedies[reached.failed],
      );
    }),
  );
  if (findings.length > 0) return findings;
  return [absent('BERTH_CALLBACK_HOSTS', 'it has no entry that names a single host')];
}
