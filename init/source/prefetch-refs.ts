/**
 * The connection to the git server, with its refs asked for, while the lease is taken and the volume
 * looked at. Always holds: it only reads from the server; what goes wrong here is told by the first who
 * asks for the refs, so a failure of the lease or the volume comes before it.
 */
import type { InitConfig } from '../config.ts';
import { createTransport, type Transport } from '../git/transport.ts';

/** To the repository as `config` names it, with `token` as the login. */
export function connectTo(
  url: string,
  { username, maxRepositoryBytes: mostBytes }: InitConfig,
  token: string | undefined,
  signal: AbortSignal,
): Transport {
  const login = token === undefined ? {} : { login: { username, token } };
  return createTransport({ url, signal, mostBytes, ...login });
}

/** A connection whose refs are on their way. */
export interface Early {
  transport: Transport;
  /** When it was begun, of `performance.now()`. */
  since: number;
}

/** Milliseconds: whoever waited longer than this for the lease must ask afresh. */
const freshness = 5_000;

/** Undefined where the refs are not what is asked first, or there is no token yet. */
export function connectEarly(config: InitConfig, signal: AbortSignal): Early | undefined {
  const { githubApp, ref, repository, token } = config;
  if (githubApp || (ref !== undefined && /^[0-9a-f]{40}$/.test(ref))) return undefined;
  try {
    const limited = AbortSignal.any([signal, serverDeadline(config)]);
    const transport = connectTo(repository.remoteUrl, config, token, limited);
    transport.askRefs();
    return { transport, since: performance.now() };
  } catch {
    // Such as a proxy variable that is no URL: said when it is asked for again.
    return undefined;
  }
}

/** What of it can still be used: what the server said is not to be out of date. */
export function fresh(early: Early | undefined): Transport | undefined {
  return early && performance.now() - early.since < freshness ? early.transport : undefined;
}

/** So that there is time to go on without the server. */
export function serverDeadline({ timeout }: InitConfig): AbortSignal {
  return AbortSignal.timeout(Math.ceil(timeout * 0.75));
}
