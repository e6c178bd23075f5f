/**
 * Checks whether a host is reachable in the same way as for the CLI: through HTTPS_PROXY if it is
 * set, with a certificate that this container trusts. No request is sent to the host.
 */
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Environment } from '../../shared/config.ts';
import { messageOf, systemCode } from '../../shared/errors.ts';
import { proxyFor, throughProxy } from '../../shared/proxy.ts';
import { abortable } from '../../shared/waiting.ts';

export interface Target {
  host: string;
  port: number;
  /** False: an unencrypted port is only connected to. */
  tls?: boolean;
  /** True for an http URL, which init reaches through HTTP_PROXY and not through HTTPS_PROXY. */
  http?: boolean;
  /** The trusted CA as PEM, instead of all others. */
  ca?: Buffer;
}

export type Reached =
  | { by: 'connection' | 'proxy' }
  | { failed: 'dns' | 'connection' | 'proxy' | 'certificate'; cause: string };

/** Milliseconds. */
const deadline = 5_000;

/** The result of `read` for the open connection. */
export async function withConnection<T>(
  target: Target,
  environment: Environment,
  signal: AbortSignal,
  read: (socket: Socket) => Promise<T>,
): Promise<T> {
  const within = AbortSignal.any([signal, AbortSignal.timeout(deadline)]);
  const proxy = proxyFor(target, environment);
  const plain = proxy
    ? await throughProxy(proxy, target, within)
    : await opened(connectTcp(target.port, target.host), 'connect', within);
  if (target.tls === false) return read(plain).finally(() => plain.destroy());
  const servername = isIP(target.host) ? '' : target.host;
  const socket: TLSSocket = connectTls({
    ...{ socket: plain, host: target.host, servername },
    ...(target.ca ? { ca: target.ca } : {}),
  });
  try {
    await opened(socket, 'secureConnect', within).catch((error: unknown) => {
      throw Object.assign(new Error(messageOf(error)), { step: stepOfTls(error) });
    });
    return await read(socket);
  } finally {
    socket.destroy();
    plain.destroy();
  }
}

/** Never rejects. */
export async function reach(
  target: Target,
  environment: Environment,
  signal: AbortSignal,
): Promise<Reached> {
  const proxied = proxyFor(target, environment) !== undefined;
  if (!proxied && !isIP(target.host)) {
    const late = AbortSignal.any([signal, AbortSignal.timeout(deadline)]);
    const named = await abortable(lookup(target.host), late).then(
      () => undefined,
      (error: unknown) => (late.aborted ? 'no answer' : (systemCode(error) ?? messageOf(error))),
    );
    if (named !== undefined) return { failed: 'dns', cause: named };
  }
  try {
    await withConnection(target, environment, signal, async () => undefined);
    return { by: proxied ? 'proxy' : 'connection' };
  } catch (error) {
    const step = (error as { step?: 'certificate' | 'connection' }).step;
    const late = (error as Error).name === 'TimeoutError' || systemCode(error) === 'ABORT_ERR';
    const cause = late ? `no answer within ${deadline / 1_000} s` : messageOf(error);
    return { failed: step ?? (proxied ? 'proxy' : 'connection'), cause };
  }
}

function stepOfTls(error: unknown): 'certificate' | 'connection' {
  return /CERT|SIGNATURE|ALTNAME/.test(systemCode(error) ?? '') ? 'certificate' : 'connection';
}

async function opened<S extends Socket>(socket: S, event: string, signal: AbortSignal): Promise<S> {
  try {
    await once(socket, event, { signal });
    socket.on('error', () => {});
    return socket;
  } catch (error) {
    socket.on('error', () => {});
    socket.destroy();
    throw signal.aborted ? signal.reason : error;
  }
}
