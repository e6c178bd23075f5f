/**
 * The proxy variables `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`: which proxy a connection uses, and the tunnel through the
 * proxy. For connections by node:http and node:tls; init's connections use undici, which reads the same variables.
 */
import { once } from 'node:events';
import { request } from 'node:http';
import { isIPv6, type Socket } from 'node:net';
import type { Environment } from './config.ts';

/** The proxy for this host; undefined: connect directly. `http` is true for an http URL. */
export function proxyFor(
  { host, http }: { host: string; http?: boolean },
  environment: Environment,
): URL | undefined {
  const { NO_PROXY, no_proxy: none } = environment;
  const given = http
    ? environment.HTTP_PROXY || environment.http_proxy
    : environment.HTTPS_PROXY || environment.https_proxy;
  if (!given || !URL.canParse(given)) return undefined;
  const excepted = (NO_PROXY || none || '').split(',').map((name) => name.trim());
  const matches = excepted.some(
    (name) =>
      name === '*' || name === host || (name && host.endsWith(`.${name.replace(/^\./, '')}`)),
  );
  return matches ? undefined : new URL(given);
}

/**
 * A connection to the host through the proxy, by CONNECT.
 * @throws Error if the proxy refuses or cannot be reached; the signal's reason
 */
export async function throughProxy(
  proxy: URL,
  { host, port }: { host: string; port: number },
  signal: AbortSignal,
): Promise<Socket> {
  const target = `${isIPv6(host) ? `[${host}]` : host}:${port}`;
  const asked = request({
    ...proxyAddress(proxy),
    method: 'CONNECT',
    path: target,
    headers: { host: target, ...proxyAuthorization(proxy) },
    signal,
  });
  asked.end();
  const [response, socket] = (await once(asked, 'connect')) as [{ statusCode: number }, Socket];
  if (response.statusCode === 200) return socket;
  socket.destroy();
  throw new Error(`the proxy ${proxy.host} answered ${response.statusCode}`);
}

export function proxyAddress(proxy: URL): { host: string; port: number } {
  return { host: proxy.hostname.replace(/^\[|\]$/g, ''), port: Number(proxy.port) || 80 };
}

/** The header with the login of the proxy's URL, if there is one. */
export function proxyAuthorization({ username, password }: URL): Record<string, string> {
  if (!username) return {};
  const login = decodeURIComponent(`${username}:${password}`);
  return { 'proxy-authorization': `Basic ${Buffer.from(login).toString('base64')}` };
}
