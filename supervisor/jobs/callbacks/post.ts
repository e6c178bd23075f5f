/**
 * Sends one request of a callback.
 * Invariants: the target of the request is sent byte for byte. Redirects are not followed. A direct connection goes only to
 * an address that was checked; through a proxy (HTTPS_PROXY, HTTP_PROXY) berth checks the name, and the proxy decides about
 * the address. The request has a deadline, and of the answer's body only the start is read. Each request has its own
 * connection.
 */
import { type IncomingMessage, type RequestOptions, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Environment } from '../../../shared/config.ts';
import { messageOf, systemCode } from '../../../shared/errors.ts';
import { proxyAddress, proxyAuthorization, proxyFor, throughProxy } from '../../../shared/proxy.ts';
import { version } from '../../../shared/version.ts';
import { within } from '../../../shared/waiting.ts';
import { allowedAddresses, fixedLookup, type Resolve, resolveHost } from './allowed-addresses.ts';
import type { AllowedHosts } from './allowed-hosts.ts';
import type { CallbackUrl } from './callback-url.ts';

export interface PostOptions {
  hosts: AllowedHosts;
  /** With the proxy variables. */
  environment: Environment;
  signal: AbortSignal;
  resolve?: Resolve | undefined;
  /** Milliseconds for the whole request. */
  deadline?: number | undefined;
}

export interface Answer {
  status: number;
  /** The header Retry-After, as received. */
  retryAfter: string | undefined;
  /** The start of the body. */
  text: string;
}

/** In bytes. */
const mostText = 4_096;
/** Milliseconds for the body, once the status is known. */
const bodyDeadline = 2_000;

/**
 * @param headers of the signature
 * @param body JSON
 * @throws Error whose message is for people and has no path; HostRefused; the signal's reason
 */
export async function post(
  url: CallbackUrl,
  headers: Record<string, string>,
  body: string,
  options: PostOptions,
): Promise<Answer> {
  const { signal, deadline = 30_000 } = options;
  const limited = AbortSignal.any([signal, AbortSignal.timeout(deadline)]);
  let tunnel: Socket | undefined;
  try {
    const connection = await connectionTo(url, options, limited);
    tunnel = connection.tunnel;
    const response = await sent(
      url,
      connection,
      limited,
      {
        ...{ host: url.authority, 'user-agent': `berth/${version}` },
        ...{ 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
        ...headers,
      },
      body,
    );
    const text = (await within(startOf(response), bodyDeadline, signal)) ?? '';
    response.destroy();
    const { statusCode = 0, headers: answered } = response;
    return { status: statusCode, retryAfter: answered['retry-after'], text };
  } catch (error) {
    signal.throwIfAborted();
    if (limited.aborted) throw new Error(`no answer within ${deadline / 1_000} s`);
    throw messageOf(error) === '' ? new Error(systemCode(error) ?? 'the connection failed') : error;
  } finally {
    tunnel?.destroy();
  }
}

type Connection = Pick<RequestOptions, 'host' | 'port' | 'path' | 'lookup'> & {
  headers?: Record<string, string>;
  /** The connection to the host through the proxy. */
  tunnel?: Socket;
};

async function connectionTo(
  url: CallbackUrl,
  { hosts, environment, resolve = resolveHost }: PostOptions,
  signal: AbortSignal,
): Promise<Connection> {
  const { tls, host, port, path, authority } = url;
  const proxy = proxyFor({ host, http: !tls }, environment);
  if (!proxy) {
    const addresses = await allowedAddresses(url, hosts, resolve, signal);
    return { host, port, path, lookup: fixedLookup(addresses) };
  }
  if (!tls) {
    const whole = `http://${authority}${path}`;
    return { ...proxyAddress(proxy), path: whole, headers: proxyAuthorization(proxy) };
  }
  return { host, port, path, tunnel: await throughProxy(proxy, { host, port }, signal) };
}

function sent(
  { tls, host }: CallbackUrl,
  { headers: added, tunnel: socket, ...connection }: Connection,
  signal: AbortSignal,
  headers: Record<string, string | number>,
  body: string,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const servername = isIP(host) ? '' : host;
  const request = (tls ? requestHttps : requestHttp)({
    ...connection,
    ...{ method: 'POST', headers: { ...headers, ...added }, signal },
    // With an agent, Node would not call createConnection.
    ...(socket
      ? { createConnection: () => connectTls({ socket, host, servername }) }
      : { agent: false }),
  });
  request.on('response', resolve);
  request.on('error', reject);
  request.on('upgrade', (response, socket) => {
    socket.destroy();
    resolve(response);
  });
  request.on('close', () => reject(new Error('the connection ended without an answer')));
  request.end(body);
  return promise;
}

/** Never rejects: the status counts, also if the body ends in the middle. */
async function startOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes >= mostText) break;
    }
  } catch {
    // What has arrived is enough.
  }
  return Buffer.concat(chunks).subarray(0, mostText).toString();
}
