/**
 * A stand-in for the Kubernetes API, as far as Secrets go: https with the certificate of a test CA, a
 * bearer token, RBAC by verb and name, resourceVersion. It owns the socket, who may do what, the
 * record of what was asked and the faults; what a Secret is, kubernetes-api/secrets.ts decides.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text as readText } from 'node:stream/consumers';
import { Refusal, Secrets } from './kubernetes-api/secrets.ts';
import { certificateAuthority } from './tls.ts';

/** `times`: how many requests it hits before the server heals; without it, all of them. */
export type KubernetesFault = { times?: number } /** Which; all by default. */ & {
  method?: 'GET' | 'PATCH';
} & (
    | { kind: 'status'; status: number; retryAfter?: number }
    | { kind: 'hang' }
    /** Breaks the connection, before or after the request was carried out. */
    | { kind: 'drop'; carriedOut?: boolean }
  );

export interface KubernetesRequest {
  readonly method: string;
  readonly path: string;
  readonly contentType: string | undefined;
  readonly body: string;
  /** By Date.now(). */
  readonly received: number;
  status: number | undefined;
}

export interface KubernetesApi {
  /** https, without a trailing slash. */
  readonly url: string;
  /** The bearer token that it lets in. */
  readonly token: string;
  /** The file of its CA's certificate. */
  readonly ca: string;
  readonly secrets: Secrets;
  readonly requests: readonly KubernetesRequest[];
  /** What the token's service account may do with which Secret, as `namespace/name`. */
  allow(secret: string, verbs: readonly ('get' | 'patch')[]): void;
  /** Another token, as when a projected one was renewed; the old one is not let in any more. */
  renewToken(token: string): void;
  fault(fault: KubernetesFault | undefined): void;
  close(): Promise<void>;
}

const fixtures = join(import.meta.dirname, 'fixtures/tls');
const route = /^\/api\/v1\/namespaces\/([^/]+)\/secrets\/([^/?]+)(?:\?.*)?$/;
const patchTypes = ['application/merge-patch+json', 'application/strategic-merge-patch+json'];

export async function startKubernetesApi(): Promise<KubernetesApi> {
  const secrets = new Secrets();
  const requests: KubernetesRequest[] = [];
  const allowed = new Map<string, readonly string[]>();
  let token = 'a-service-account-token';
  let fault: { spec: KubernetesFault; left: number } | undefined;

  function takeFault(method: string): KubernetesFault | undefined {
    if (!fault || fault.left <= 0) return undefined;
    if (fault.spec.method && fault.spec.method !== method) return undefined;
    fault.left -= 1;
    return fault.spec;
  }

  function carryOut(incoming: IncomingMessage, body: string): object {
    const { method = '', url = '', headers } = incoming;
    if (headers.authorization !== `Bearer ${token}`) {
      throw new Refusal(401, 'Unauthorized', 'Unauthorized');
    }
    const [, namespace = '', name = ''] = route.exec(url) ?? [];
    if (!namespace) throw new Refusal(404, 'NotFound', 'the server could not find the resource');
    const verb = method.toLowerCase();
    if (!allowed.get(`${namespace}/${name}`)?.includes(verb)) {
      throw new Refusal(
        403,
        'Forbidden',
        `secrets "${name}" is forbidden: User "system:serviceaccount:${namespace}:berth" cannot ${verb} resource "secrets" in API group "" in the namespace "${namespace}"`,
      );
    }
    if (method === 'GET') return secrets.get(namespace, name);
    const type = headers['content-type']?.split(';')[0] ?? '';
    if (!patchTypes.includes(type)) {
      throw new Refusal(415, 'UnsupportedMediaType', `the body of the patch was ${type}`);
    }
    let patch: unknown;
    try {
      patch = JSON.parse(body);
    } catch {
      throw new Refusal(400, 'BadRequest', 'the patch is no JSON');
    }
    return secrets.patch(namespace, name, patch as Record<string, unknown>);
  }

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = incoming;
    const body = await readText(incoming);
    const request: KubernetesRequest = {
      ...{ method, path: url, contentType: headers['content-type'], body },
      ...{ received: Date.now(), status: undefined },
    };
    requests.push(request);
    const current = takeFault(method);
    if (current?.kind === 'hang') return;
    if (current?.kind === 'drop' && !current.carriedOut) return void response.destroy();
    const answer = (status: number, value: object, more: Record<string, string> = {}): void => {
      request.status = status;
      response.writeHead(status, { 'content-type': 'application/json', ...more });
      response.end(JSON.stringify(value));
    };
    try {
      if (current?.kind === 'status') {
        const { status, retryAfter } = current;
        const more: Record<string, string> = {};
        if (retryAfter !== undefined) more['retry-after'] = String(retryAfter);
        return answer(status, statusOf(new Refusal(status, 'Scripted', 'scripted')), more);
      }
      const result = carryOut(incoming, body);
      if (current?.kind === 'drop') return void response.destroy();
      answer(200, result);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      answer(error.status, statusOf(error));
    }
  }

  const server = createServer({
    key: readFileSync(join(fixtures, 'server.key')),
    cert: readFileSync(join(fixtures, 'server.pem')),
  });
  server.on('request', (incoming, response) => {
    serve(incoming, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  let closing: Promise<void> | undefined;
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get token() {
      return token;
    },
    ca: certificateAuthority,
    secrets,
    requests,
    allow: (secret, verbs) => void allowed.set(secret, verbs),
    renewToken(renewed) {
      token = renewed;
    },
    fault(spec) {
      fault = spec && { spec, left: spec.times ?? Number.POSITIVE_INFINITY };
    },
    close() {
      closing ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return closing;
    },
  };
}

function statusOf({ status: code, reason, message }: Refusal): object {
  const kind = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure' };
  return { ...kind, message, reason, code };
}
