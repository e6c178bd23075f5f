/**
 * A stand-in for the OAuth token endpoint of claude.ai, where the real CLI finds it: behind a CONNECT
 * proxy on loopback that plays `platform.claude.com` and the other hosts of a login with a
 * certificate of a test CA. It owns the sockets, the record of what was asked and the faults; what a
 * token is worth, logins.ts decides. Nothing leaves the machine: other hosts are refused.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { text as readText } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { type LoginOptions, Logins } from './login-server/logins.ts';

export type { Login, LoginOptions } from './login-server/logins.ts';

/** `times`: how many requests it hits before the server heals; without it, all of them. */
export type LoginFault = { times?: number } & (
  | { kind: 'status'; status: number }
  /** Accepts the request and does not answer until it is healed; no token is used up. */
  | { kind: 'hang' }
  /** Refuses the refresh token without having seen it before. */
  | { kind: 'invalid_grant' }
  /** Uses the token up and breaks the connection: the window that nobody can close. */
  | { kind: 'lose answer' }
  /** Uses the token up at once, and answers after so many milliseconds. */
  | { kind: 'slow'; milliseconds: number }
);

export interface TokenRequest {
  /** Empty where a code was shown instead. */
  readonly refreshToken: string;
  /** By Date.now(). */
  readonly received: number;
  outcome: 'pending' | 'refreshed' | 'logged_in' | 'invalid_grant' | 'fault' | 'unsupported';
  /** The refresh token that this one was used up for, if it was. */
  granted?: string;
}

export interface LoginServer {
  /** What a process needs to find it: HTTPS_PROXY, NODE_EXTRA_CA_CERTS, NO_PROXY. */
  readonly environment: Record<string, string>;
  readonly logins: Logins;
  /** Every token that was asked for, oldest first. */
  readonly requests: readonly TokenRequest[];
  /** A person logs in. @returns the text of a credentials file */
  login(options?: LoginOptions): string;
  /** A person opens the page that the CLI shows, and agrees. @returns what it has them paste */
  agree(url: string, options?: LoginOptions): string;
  /** Sets the fault that refreshes meet from now on; undefined heals the server. */
  fault(fault: LoginFault | undefined): void;
  /** Sets what `GET /api/oauth/usage` answers; undefined, as at first: 404. */
  reportUsage(body: object | undefined): void;
  /** Breaks all connections, also hanging ones, and returns when the port is free. */
  close(): Promise<void>;
}

const fixtures = join(import.meta.dirname, 'fixtures/tls/login-server');
const hosts = ['platform.claude.com', 'console.anthropic.com', 'api.anthropic.com', 'claude.ai'];

/**
 * @param options.now milliseconds since 1970: another clock than this machine's
 * @param options.onRequest told of each refresh, and again just before it is answered
 */
export async function startLoginServer(
  options: { now?: () => number; onRequest?: (request: TokenRequest) => void } = {},
): Promise<LoginServer> {
  const { onRequest = () => {} } = options;
  const hanging = new Set<ServerResponse>();
  const logins = new Logins(options.now ?? Date.now);
  const requests: TokenRequest[] = [];
  let usage: object | undefined;
  let fault: { spec: LoginFault; left: number } | undefined;

  const takeFault = (): LoginFault | undefined => {
    if (!fault || fault.left <= 0) return undefined;
    fault.left -= 1;
    return fault.spec;
  };

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    if (usage && incoming.method === 'GET' && incoming.url?.split('?')[0] === '/api/oauth/usage') {
      const shown = String(incoming.headers.authorization ?? '').replace(/^Bearer /, '');
      return logins.admits(shown)
        ? sendJson(response, 200, usage)
        : sendJson(response, 401, { error: 'unauthorized' });
    }
    if (incoming.method !== 'POST' || incoming.url !== '/v1/oauth/token') {
      return sendJson(response, 404, { error: 'not_found' });
    }
    const body = readJson(await readText(incoming));
    const refreshToken = String(body.refresh_token ?? '');
    const request: TokenRequest = { refreshToken, received: Date.now(), outcome: 'pending' };
    requests.push(request);
    onRequest(request);
    const refresh = body.grant_type === 'refresh_token' && refreshToken !== '';
    if (!(refresh || body.grant_type === 'authorization_code') || !body.client_id) {
      request.outcome = 'unsupported';
      return sendJson(response, 400, { error: 'invalid_request' });
    }
    const current = takeFault();
    if (current) request.outcome = 'fault';
    if (current?.kind === 'hang') return void hanging.add(response);
    if (current?.kind === 'status') {
      return sendJson(response, current.status, { error: 'scripted' });
    }
    const answer =
      current?.kind === 'invalid_grant'
        ? undefined
        : refresh
          ? logins.refresh(refreshToken)
          : logins.exchange(String(body.code), String(body.code_verifier));
    if (answer) request.granted = answer.refresh_token;
    if (current?.kind === 'lose answer') {
      onRequest(request);
      response.destroy();
      return;
    }
    if (!answer) {
      request.outcome = 'invalid_grant';
      onRequest(request);
      const description = `${refresh ? 'Refresh token' : 'Code'} not found or invalid`;
      return sendJson(response, 400, { error: 'invalid_grant', error_description: description });
    }
    if (current?.kind === 'slow') await delay(current.milliseconds, undefined, { ref: false });
    request.outcome = refresh ? 'refreshed' : 'logged_in';
    onRequest(request);
    sendJson(response, 200, answer);
  }

  const endpoint = createTlsServer({
    key: readFileSync(join(fixtures, 'server.key')),
    cert: readFileSync(join(fixtures, 'server.pem')),
  });
  endpoint.on('request', (incoming, response) => {
    serve(incoming, response).catch((error: unknown) => {
      if (!response.destroyed) sendJson(response, 500, { error: `stand-in: ${error}` });
    });
  });
  const sockets = new Set<Duplex>();
  const proxy = createServer((_, response) => sendJson(response, 405, { error: 'only CONNECT' }));
  proxy.on('connect', (request: IncomingMessage, socket: Duplex) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    const [host = '', port] = (request.url ?? '').split(':');
    if (!hosts.includes(host) || port !== '443') {
      socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
      return;
    }
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    endpoint.emit('connection', socket);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;

  let closing: Promise<void> | undefined;
  return {
    environment: {
      HTTPS_PROXY: url,
      NO_PROXY: '127.0.0.1,localhost',
      NODE_EXTRA_CA_CERTS: join(fixtures, 'ca.pem'),
    },
    logins,
    requests,
    login: (loginOptions) => logins.begin(loginOptions),
    agree: (page, loginOptions) => `${logins.agree(challengeIn(page), loginOptions)}#state`,
    reportUsage(body) {
      usage = body;
    },
    fault(spec) {
      fault = spec && { spec, left: spec.times ?? Number.POSITIVE_INFINITY };
      for (const response of hanging) response.destroy();
      hanging.clear();
    },
    close() {
      closing ??= new Promise((resolve) => {
        proxy.close(() => resolve());
        for (const socket of sockets) socket.destroy();
        proxy.closeAllConnections();
      });
      return closing;
    },
  };
}

/** The CLI 2.1.330 shows a short page, `?z-CHALLENGE`; others name all that OAuth asks for. */
function challengeIn(page: string): string {
  const { search, searchParams } = new URL(page);
  return searchParams.get('code_challenge') ?? search.replace(/^\?z-/, '');
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

function readJson(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
