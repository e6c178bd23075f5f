/**
 * Turns failures of the git server and of the network into errors with a cause and a remedy.
 * Invariants: an error that comes neither from the network nor from the server is returned as
 * undefined: such an error means that the git directory is damaged, which has a repair of its own.
 */
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';
import { formatSize } from '../../shared/units.ts';
import { usualTokenPlace } from './token-setting.ts';

export interface RemoteContext {
  url: string;
  /** Whether a token was sent. */
  authenticated: boolean;
  /** Completes "put a token into ...". */
  tokenPlace?: string;
}

/** Cause and remedy of network failures, by the codes of Node.js and undici. */
const network: Record<string, string> = {
  ECONNREFUSED: 'nothing listens there; check {setting} and the egress policy',
  ECONNRESET: 'the connection broke; check the network',
  EPIPE: 'the connection broke; check the network',
  ETIMEDOUT: 'it does not answer; check the egress policy and the proxy variables',
  EHOSTUNREACH: 'it cannot be reached; check the network and the egress policy',
  ENETUNREACH: 'it cannot be reached; check the network and the egress policy',
  ENOTFOUND: 'its name cannot be resolved; check {setting} and DNS',
  EAI_AGAIN: 'DNS does not answer; check DNS and its egress policy',
  UND_ERR_CONNECT_TIMEOUT: 'it does not answer; check the egress policy and the proxy variables',
  UND_ERR_HEADERS_TIMEOUT: 'it accepted the request but sent no answer; try again later',
  UND_ERR_BODY_TIMEOUT: 'it fell silent in the middle of its answer; try again later',
  UND_ERR_SOCKET: 'the connection broke in the middle; check the network',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the answer was cut short; check the network',
  UND_ERR_ABORTED: 'the proxy did not connect; check the proxy variables',
  UND_ERR_PRX_TLS: 'the proxy did not connect; check the proxy variables',
  HPE_INVALID_CONSTANT: 'it does not speak HTTP; check {setting} and the proxy variables',
};

const certificate =
  /^(CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_SSL|EPROTO|HOSTNAME_MISMATCH)/;

/** The error as BerthError, or undefined if it is not about the git server. */
export function asRemoteError(error: unknown, context: RemoteContext): BerthError | undefined {
  if (error instanceof BerthError) return error;
  const { url } = context;
  const code = systemCode(error);
  if (code === 'HttpError') {
    const { statusCode } = (error as { data: { statusCode: number } }).data;
    return answered(statusCode, context, error);
  }
  if (code === 'SmartHttpError' || code === 'ParseError' || code === 'EmptyServerResponseError') {
    return new BerthError(
      'remote_refused',
      `cannot use ${url}: its answer is not git (a web page?); check BERTH_REPO, and whether a proxy or a login page answers instead`,
      { cause: error },
    );
  }
  if (code === 'RemoteCapabilityError') {
    return new BerthError(
      'remote_refused',
      `cannot fetch ${url}: the server does not offer shallow clones; use a git server that does`,
      { cause: error },
    );
  }
  if (/not our ref|upload-pack/.test(messageOf(error))) {
    return new BerthError(
      'remote_refused',
      `cannot fetch ${url}: the server answers "${messageOf(error).trim()}"; check that BERTH_REF still exists there`,
      { cause: error },
    );
  }
  return failed(code, context, error);
}

function failed(
  code: string | undefined,
  { url }: RemoteContext,
  error: unknown,
): BerthError | undefined {
  const problem = networkProblem(error, 'BERTH_REPO', code);
  if (!problem) return undefined;
  return new BerthError('remote_unavailable', `cannot reach ${url}: ${problem.text}`, {
    cause: problem.cause,
    ...(problem.permanent ? { details: { permanent: true } } : {}),
  });
}

export interface NetworkProblem {
  /** "<cause>; <remedy>" */
  text: string;
  /** True if a retry cannot succeed. */
  permanent: boolean;
  cause: unknown;
}

/**
 * The cause of a network failure; undefined if the error is not one.
 * @param setting the name of the setting with the host, for the remedy
 */
export function networkProblem(
  error: unknown,
  setting: string,
  code = systemCode(error),
): NetworkProblem | undefined {
  if (code !== undefined && certificate.test(code)) {
    const text = `its certificate is not trusted (${code}); set NODE_EXTRA_CA_CERTS to the file of its CA`;
    return { text, permanent: true, cause: error };
  }
  const name = (error as { name?: unknown } | undefined)?.name;
  const text =
    (code && network[code]) ??
    (name === 'AbortError' || name === 'TimeoutError' ? 'it took too long' : undefined) ??
    (/proxy/i.test(messageOf(error)) ? 'the proxy did not connect' : undefined);
  if (text !== undefined) {
    const remedy = text.includes(';') ? text : `${text}; check the network`;
    return { text: remedy.replace('{setting}', setting), permanent: false, cause: error };
  }
  // The inner error of a wrapper, such as an AggregateError of several addresses.
  const { cause, errors } = (error ?? {}) as { cause?: unknown; errors?: unknown[] };
  const inner = cause ?? errors?.[0];
  return inner === undefined || inner === null ? undefined : networkProblem(inner, setting);
}

function answered(status: number, context: RemoteContext, cause: unknown): BerthError {
  const { url, authenticated, tokenPlace = usualTokenPlace } = context;
  const refused = (text: string) =>
    new BerthError('remote_refused', `cannot read ${url}: ${text}`, {
      cause,
      details: { http_status: status },
    });
  if (status === 401) {
    return authenticated
      ? refused(
          `the server does not accept the token (401): it is wrong, expired or revoked; create a new token and put it into ${tokenPlace}`,
        )
      : refused(`the server requires a login (401); put a token into ${tokenPlace}`);
  }
  if (status === 403) {
    return refused(
      authenticated
        ? 'the token may not read the repository (403); grant the token "Contents: read" on this repository, and authorise it for single sign-on if the organisation requires that'
        : `the server refuses without a login (403); put a token into ${tokenPlace}`,
    );
  }
  if (status === 404) {
    return refused(
      authenticated
        ? 'the repository does not exist, or the token has no access to it (404 means either); check BERTH_REPO and which repositories the token may read'
        : `the repository does not exist, or it is private (404 means either); check BERTH_REPO, and put a token into ${tokenPlace}`,
    );
  }
  if (status === 407)
    return refused('the proxy requires a login (407); put the login into HTTPS_PROXY');
  if (status === 408 || status === 429 || status >= 500) {
    const why = status === 429 ? 'the server limits the rate' : 'the server is in trouble';
    return new BerthError(
      'remote_unavailable',
      `cannot reach ${url}: ${why} (${status}); try again later`,
      { cause, details: { http_status: status } },
    );
  }
  return refused(`the server answers with status ${status}; check BERTH_REPO`);
}

/** @param mostBytes BERTH_MAX_REPO_BYTES */
export function tooLarge(url: string, mostBytes: number): BerthError {
  return new BerthError(
    'remote_refused',
    `cannot fetch ${url}: it is larger than ${formatSize(mostBytes)}; make it smaller, or raise BERTH_MAX_REPO_BYTES if the volume and the memory have room`,
  );
}
