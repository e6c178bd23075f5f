/**
 * A real git server over smart HTTP, as GitHub is one: `git http-backend` behind node:http on
 * 127.0.0.1, with a token and with faults on demand. It owns the socket, who may come in, and which
 * requests a fault hits; it serves every bare repository under its root and changes none of them.
 * A repository answers with and without `.git` at the end of its name.
 */
import { once } from 'node:events';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { buffer as readBuffer } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { type Backend, runBackend } from './git-server/backend.ts';
import { applyFault, type GitFault } from './git-server/fault.ts';

export type { GitFault } from './git-server/fault.ts';

export interface GitServer {
  /** Without a trailing slash. */
  readonly url: string;
  /** What was asked, oldest first, refused requests too. */
  readonly requests: readonly GitRequest[];
  /** All that went out, headers too. */
  readonly bytesSent: number;
  /** Without credentials. */
  repositoryUrl(name: string): string;
  /** Sets the fault that requests meet from now on; undefined heals the server. */
  fault(fault: GitFault | undefined): void;
  /** Breaks all connections, ends git's processes and returns when the port is free. */
  close(): Promise<void>;
}

export interface GitRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
}

/**
 * Starts the server on a free port.
 * @param options.root the folder of the bare repositories.
 * @param options.token the password that every request then needs; without it, all is public.
 * @param options.username the only user name that is let in; any, when it is not given.
 */
export async function startGitServer(options: {
  root: string;
  token?: string;
  username?: string;
}): Promise<GitServer> {
  const requests: GitRequest[] = [];
  const backends = new Set<Backend>();
  let fault: { spec: GitFault; left: number } | undefined;

  function takeFault(path: string, isPack: boolean): GitFault | undefined {
    if (!fault || fault.left <= 0 || !concerns(fault.spec, `${url}${path}`, isPack)) {
      return undefined;
    }
    fault.left--;
    return fault.spec;
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '/';
    requests.push({ method: request.method ?? 'GET', path, headers: request.headers });
    const isPush = /\/git-receive-pack$/.test(path);
    // A push streams into git, which then sees where a client breaks off.
    const body = isPush ? request : await readBody(request);
    const isPack =
      Buffer.isBuffer(body) && (body.includes('command=fetch') || body.includes('want '));
    const current = takeFault(path, isPack);
    if (current && applyFault(current, path, response) === 'handled') return;
    if (!admits(options, request.headers.authorization)) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' });
      response.end('Bad credentials\n');
      return;
    }
    const target = /^\/(.+?)(?:\.git)?\/(info\/refs|git-upload-pack|git-receive-pack)$/.exec(
      path.split('?')[0] ?? '',
    );
    if (!target) {
      response.writeHead(404).end('Not Found\n');
      return;
    }
    if (response.destroyed) return;
    const pathInfo = `/${target[1]}.git/${target[2]}`;
    const backend = runBackend({ root: options.root, pathInfo, request, body });
    backends.add(backend);
    response.once('close', () => {
      backend.end();
      backends.delete(backend);
    });
    await backend.answer(response);
  }

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => {
      // Whoever went away needs no answer; anything else is a bug in a test, so show it there.
      if (response.destroyed) return;
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end(String(error));
    });
  });
  const sockets = new Set<Socket>();
  let sentBefore = 0;
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => {
      sockets.delete(socket);
      sentBefore += socket.bytesWritten;
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  let closing: Promise<void> | undefined;
  return {
    url,
    requests,
    get bytesSent() {
      return [...sockets].reduce((sum, { bytesWritten }) => sum + bytesWritten, sentBefore);
    },
    repositoryUrl: (name) => `${url}/${name}.git`,
    fault(spec) {
      fault = spec && { spec, left: spec.times ?? Number.POSITIVE_INFINITY };
    },
    close() {
      closing ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        for (const backend of backends) backend.end();
      });
      return closing;
    },
  };
}

function concerns(fault: GitFault, url: string, isPack: boolean): boolean {
  // Faults in the middle of a pack leave the requests before it alone.
  if (['stall', 'drop', 'flip'].includes(fault.kind)) return isPack;
  // The new place may be on this server: it must answer there.
  if (fault.kind === 'redirect') return !url.startsWith(fault.to);
  return true;
}

function admits(
  { token, username }: { token?: string; username?: string },
  authorization: string | undefined,
): boolean {
  if (token === undefined) return true;
  const basic = /^Basic (.*)$/i.exec(authorization ?? '')?.[1] ?? '';
  const pair = Buffer.from(basic, 'base64').toString();
  const colon = pair.indexOf(':');
  if (username !== undefined && pair.slice(0, colon) !== username) return false;
  return colon >= 0 && pair.slice(colon + 1) === token;
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const body = await readBuffer(request);
  return request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
}
