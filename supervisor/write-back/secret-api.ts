/**
 * Two calls of the Kubernetes API: get and patch of one Secret, as the pod's service account.
 * Invariants: the token and the CA are read for each call, because they are renewed in place. Every
 * call has a deadline and a bounded response. No proxy is used. The token is never shown.
 */
import { join } from 'node:path';
import { Client } from 'undici';
import { messageOf } from '../../shared/errors.ts';
import { readProvided } from '../../shared/files.ts';
import { neverShow } from '../../shared/redact.ts';
import type { SecretName } from '../../shared/setting-types.ts';
import { type Asked, failureOf, failureOnTheWay, WriteBackFailure } from './api-failure.ts';
import { type SecretObject, secretObject } from './live-secret.ts';

export interface SecretApiOptions {
  host: string;
  port: number;
  /** Where `token`, `ca.crt` and `namespace` are mounted. */
  accountDirectory: string;
  secret: SecretName;
  /** Milliseconds for one call. */
  timeout?: number;
}

/** A Secret has at most 1 MiB, a third more in base64, plus its metadata. */
const longestAnswer = 4 * 1024 ** 2;
/** The maximum bytes of a token or a CA bundle. */
const longestFile = 1024 ** 2;

export class SecretApi {
  readonly #options: SecretApiOptions;

  constructor(options: SecretApiOptions) {
    this.#options = options;
  }

  /** @throws WriteBackFailure */
  get(signal: AbortSignal): Promise<SecretObject> {
    return this.#call('get', undefined, signal);
  }

  /** @param patch a JSON merge patch @throws WriteBackFailure */
  patch(patch: object, signal: AbortSignal): Promise<SecretObject> {
    return this.#call('patch', patch, signal);
  }

  async #call(verb: Asked['verb'], patch: object | undefined, stop: AbortSignal) {
    const { host, port, secret, timeout = 10_000 } = this.#options;
    const at = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    const signal = AbortSignal.any([stop, AbortSignal.timeout(timeout)]);
    const token = (await this.#provided('token')).trim();
    neverShow(token);
    const ca = await this.#provided('ca.crt');
    const namespace = secret.namespace ?? (await this.#provided('namespace')).trim();
    const asked = { verb, namespace, name: secret.name };
    let client: Client | undefined;
    try {
      client = new Client(`https://${at}`, {
        connect: { ca, timeout },
        allowH2: false,
        headersTimeout: timeout,
        bodyTimeout: timeout,
        maxResponseSize: longestAnswer,
      });
      const { statusCode, headers, body } = await client.request({
        method: patch ? 'PATCH' : 'GET',
        path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets/${secret.name}${patch ? '?fieldManager=berth-write-back' : ''}`,
        headers: {
          authorization: `Bearer ${token}`,
          accept: 'application/json',
          ...(patch ? { 'content-type': 'application/merge-patch+json' } : {}),
        },
        body: patch ? JSON.stringify(patch) : null,
        signal,
      });
      const text = await body.text();
      if (statusCode === 200) return parse(text, at);
      throw failureOf(asked, statusCode, wordsOf(text), secondsOf(headers['retry-after']));
    } catch (error) {
      throw failureOnTheWay(error, at, timeout);
    } finally {
      client?.destroy().catch(() => undefined);
    }
  }

  async #provided(name: string): Promise<string> {
    const path = join(this.#options.accountDirectory, name);
    let cause = 'it does not exist';
    try {
      const content = await readProvided(path, longestFile);
      if (content?.length) return content.toString('utf8');
      if (content) cause = 'it is empty';
    } catch (error) {
      cause = messageOf(error);
    }
    throw new WriteBackFailure(
      'account',
      `${path} cannot be read: ${cause}; mount token, ca.crt and namespace of the service account there, as manifests/components/write-back does`,
    );
  }
}

function parse(text: string, at: string): SecretObject {
  try {
    return secretObject.parse(JSON.parse(text));
  } catch {
    // The content is not reported: it may be full of tokens.
    throw new WriteBackFailure(
      'malformed',
      `the response of ${at} is not a Secret; check which server answers there`,
    );
  }
}

/** The `message` of a Status object. */
function wordsOf(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    return typeof message === 'string' ? message.slice(0, 300) : '';
  } catch {
    return '';
  }
}

/** Milliseconds, a minute at most. */
function secondsOf(header: string | string[] | undefined): number | undefined {
  const seconds = typeof header === 'string' ? /^\d{1,9}$/.exec(header)?.[0] : undefined;
  return seconds === undefined ? undefined : Math.min(Number(seconds), 60) * 1_000;
}
