/** The failures between the sidecar and the API server, by reason, with their remedies. */
import { messageOf, systemCode } from '../../shared/errors.ts';

/** The label of the metric, and `reason` in the log. */
export const failureReasons = [
  'unreachable',
  'timeout',
  'tls',
  'account',
  'unauthorized',
  'forbidden',
  'not_found',
  'conflict',
  'throttled',
  'server_error',
  'refused',
  'malformed',
  'own_source',
  'volume',
] as const;

export type FailureReason = (typeof failureReasons)[number];

/** Its message is "<cause>; <remedy>". */
export class WriteBackFailure extends Error {
  readonly reason: FailureReason;
  readonly status: number | undefined;
  /** Milliseconds that the server requests to wait. */
  readonly retryAfter: number | undefined;

  constructor(
    reason: FailureReason,
    message: string,
    more: { status?: number; retryAfter?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause });
    this.reason = reason;
    this.status = more.status;
    this.retryAfter = more.retryAfter;
  }

  /** Whether the failure lasts until a person acts. */
  get lasting(): boolean {
    const lasting = ['tls', 'account', 'unauthorized', 'forbidden', 'not_found', 'own_source'];
    return lasting.includes(this.reason);
  }
}

export interface Asked {
  verb: 'get' | 'patch';
  namespace: string;
  name: string;
}

/** The failure for an HTTP response. @param said the message of the server */
export function failureOf(
  { verb, namespace, name }: Asked,
  status: number,
  said: string,
  retryAfter: number | undefined,
): WriteBackFailure {
  const secret = `the Secret ${namespace}/${name}`;
  const of = (reason: FailureReason, message: string) =>
    new WriteBackFailure(reason, message, { status, retryAfter });
  const answer = `the API server answers ${status}${said ? ` (${said})` : ''}`;
  switch (status) {
    case 401:
      return of(
        'unauthorized',
        `${answer}: the API server does not accept the token of the service account; mount a projected serviceAccountToken into this container, as manifests/components/write-back does`,
      );
    case 403:
      return of(
        'forbidden',
        `${answer}; grant the service account the verb ${verb}: a Role in the namespace ${namespace} with resources [secrets], resourceNames [${name}] and verbs [get, patch], and its RoleBinding, as manifests/components/write-back has them`,
      );
    case 404:
      return of(
        'not_found',
        `the Secret ${name} does not exist in the namespace ${namespace}, and berth may not create it; create an empty Secret: kubectl -n ${namespace} create secret generic ${name}`,
      );
    case 409:
      return of('conflict', `another program changes ${secret} repeatedly: ${answer}`);
    case 429:
      return of('throttled', `${answer}; retrying`);
    default:
      if (status >= 500) return of('server_error', `${answer}; retrying`);
      return of(
        'refused',
        `${answer}; check whether ${secret} is immutable, and create it again if so`,
      );
  }
}

/** The failure for an error of the connection. @param within milliseconds of the deadline */
export function failureOnTheWay(error: unknown, at: string, within: number): WriteBackFailure {
  if (error instanceof WriteBackFailure) return error;
  const code = systemCode(error) ?? '';
  const said = messageOf(error);
  const of = (reason: FailureReason, message: string) =>
    new WriteBackFailure(reason, message, { cause: error });
  if (/CERT|_TLS_|SELF_SIGNED|UNABLE_TO_|OSSL/.test(code)) {
    return of(
      'tls',
      `the certificate of the API server at ${at} cannot be trusted (${said}); mount its CA as ca.crt, from the ConfigMap kube-root-ca.crt`,
    );
  }
  if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE') {
    return of(
      'malformed',
      `the answer of ${at} is larger than any Secret; check which server answers there`,
    );
  }
  const name = error instanceof Error ? error.name : '';
  if (/TIMEOUT|ETIMEDOUT/.test(code) || /Abort|Timeout/.test(name)) {
    return of('timeout', `the API server at ${at} did not answer within ${within / 1_000} s`);
  }
  return of(
    'unreachable',
    `the API server at ${at} cannot be reached (${said}); check whether a NetworkPolicy allows the pod to reach it`,
  );
}
