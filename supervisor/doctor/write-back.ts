/**
 * Checks the live Secret: whether the Kubernetes token in this container may read it. Its content
 * is not read.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Environment } from '../../shared/config.ts';
import { messageOf } from '../../shared/errors.ts';
import { readProvided } from '../../shared/files.ts';
import { neverShow } from '../../shared/redact.ts';
import { absent, type Finding, failed, ok } from './check.ts';
import { requestStatus } from './request-status.ts';

const account = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface WriteBackPlace {
  /** Where a service account is mounted. */
  directory?: string | undefined;
  /** Whether this is the container that writes: then there must be a token. */
  needed?: boolean;
}

export async function checkWriteBack(
  environment: Environment,
  signal: AbortSignal,
  { directory = account, needed = false }: WriteBackPlace = {},
): Promise<Finding[]> {
  const secret = environment.BERTH_WRITE_BACK_SECRET;
  if (!secret) return [absent('Secret', 'BERTH_WRITE_BACK_SECRET is not set: nothing is written')];
  const token = (await readProvided(join(directory, 'token'), 64 * 1024))?.toString('utf8').trim();
  if (!token && needed) {
    const remedy =
      'mount the token of its service account, as manifests/components/write-back does';
    return [failed('Secret', `there is no Kubernetes token in ${directory}`, remedy)];
  }
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment;
  if (!token || !host) {
    const where = 'check in the container of `berth write-back`: kubectl exec -c write-back';
    return [absent('Secret', `this container has no Kubernetes token, as it should be; ${where}`)];
  }
  neverShow(token);
  const own = await readFile(join(directory, 'namespace'), 'utf8').catch(() => 'default');
  const [name = '', namespace = own.trim()] = secret.split('/').reverse();
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets/${encodeURIComponent(name)}`;
  const subject = `${namespace}/${name}`;
  const ca = await readProvided(join(directory, 'ca.crt'), 1024 ** 2).catch(() => undefined);
  const target = { host, port: Number(port) || 443, path, token, ...(ca ? { ca } : {}) };
  try {
    return [judge(subject, await requestStatus(target, withoutProxy(environment), signal))];
  } catch (error) {
    const remedy =
      'allow the pod to reach the API server: the component cilium-egress-kubernetes-api or network-policy-kubernetes-api';
    return [failed(subject, `the API server does not answer: ${messageOf(error)}`, remedy)];
  }
}

function judge(subject: string, status: number): Finding {
  if (status < 300) return ok(subject, 'it exists and can be read');
  const remedies: Record<number, string> = {
    401: 'mount a token of the service account of write-back',
    403: 'grant its service account get and patch of only this Secret (manifests/components/write-back)',
    404: 'create it: manifests/components/write-back has an empty one',
  };
  const remedy = remedies[status] ?? 'see the log of the API server';
  return failed(subject, `the API server answers ${status}`, remedy);
}

/** The API server is inside the cluster, so the proxy is not used. */
function withoutProxy({ HTTPS_PROXY: _, https_proxy: _lower, ...rest }: Environment): Environment {
  return rest;
}
