/** What can go wrong between the sidecar and the API server, by reason, and what helps. */
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
  /** Milliseconds that the server asks to wait. */
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

  /** Whether it stays as long as nobody does anything about it. */
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

/** The failure that an answer stands for. @param said the server's own words */
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
        `${answer}: it does not take the token of the service account; mount a projected serviceAccountToken into this container, as manifests/components/write-back does`,
      );
    case 403:
      return of(
        'forbidden',
        `${answer}; grant the service account the verb ${verb}: a Role in the namespace ${namespace} with resources [secrets], resourceNames [${name}] and verbs [get, patch], and its RoleBinding, as manifests/components/write-back has them`,
      );
    case 404:
      return of(
        'not_found',
        `there is no Secret ${name} in the namespace ${namespace}, and berth may not create one; make it empty: kubectl -n ${namespace} create secret generic ${name}`,
      );
    case 409:
      return of('conflict', `${secret} is changed by somebody else all the time: ${answer}`);
    case 429:
      return of('throttled', `${answer}; it is tried again`);
    default:
      if (status >= 500) return of('server_error', `${answer}; it is tried again`);
      return of('refused', `${answer}; see whether ${secret} is immutable, and make it anew if so`);
  }
}

/** The failure that an error on the way stands for. @param within milliseconds of the deadline */
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
    return of('malformed', `the answer of ${at} is larger than any Secret; see what answers there`);
  }
  const name = error instanceof Error ? error.name : '';
  if (/TIMEOUT|ETIMEDOUT/.test(code) || /Abort|Timeout/.test(name)) {
    return of('timeout', `the API server at ${at} did not answer within ${within / 1_000} s`);
  }
  return of(
    'unreachable',
    `the API server at ${at} cannot be reached (${said}); see whether a NetworkPolicy lets the pod reach it`,
  );
}
