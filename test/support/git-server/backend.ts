/**
 * One `git http-backend` process as a CGI program: one request, one answer. Its whole process group
 * ends with the connection, so a client that goes away leaves no pack-objects behind.
 */
import { execFileSync, spawn } from 'node:child_process';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { gitConfiguration, gitEnvironment } from '../repository.ts';

export interface Backend {
  /** Sends git's answer; returns when it is out. */
  answer(response: ServerResponse): Promise<void>;
  /** Ends git and all it started; harmless when it is over. */
  end(): void;
}

let backendPath: string | undefined;

/** The program itself: through `git http-backend` each request would cost two processes more. */
function httpBackend(): string {
  backendPath ??= join(
    execFileSync('git', ['--exec-path'], { encoding: 'utf8' }).trim(),
    'git-http-backend',
  );
  return backendPath;
}

/** @param call.body the request's body, already decompressed; or the request itself. */
export function runBackend(call: {
  root: string;
  pathInfo: string;
  request: IncomingMessage;
  body: Buffer | IncomingMessage;
}): Backend {
  const { headers, method, url } = call.request;
  const child = spawn(httpBackend(), {
    detached: true, // A process group of its own, to be ended as a whole.
    stdio: ['pipe', 'pipe', 'ignore'],
    env: {
      ...gitEnvironment(),
      // As GitHub: any commit may be asked for by its id, and partial clones work.
      ...gitConfiguration({
        'safe.directory': '*',
        'uploadpack.allowAnySHA1InWant': 'true',
        'uploadpack.allowFilter': 'true',
        'http.receivepack': 'true',
        'receive.advertisePushOptions': 'true',
      }),
      GIT_PROJECT_ROOT: call.root,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_PROTOCOL: String(headers['git-protocol'] ?? ''),
      REQUEST_METHOD: method ?? 'GET',
      PATH_INFO: call.pathInfo,
      QUERY_STRING: (url ?? '').split('?')[1] ?? '',
      CONTENT_TYPE: headers['content-type'] ?? '',
      ...(Buffer.isBuffer(call.body) ? { CONTENT_LENGTH: String(call.body.length) } : {}),
      REMOTE_ADDR: '127.0.0.1',
    },
  });
  // git may close its input before it has read it all, e.g. for a repository that is not there.
  child.stdin.on('error', () => {});
  if (Buffer.isBuffer(call.body)) child.stdin.end(call.body);
  else pipeline(call.body, child.stdin).catch(() => {});

  return {
    async answer(response) {
      await pipeline(
        child.stdout,
        async function* (chunks: AsyncIterable<Buffer>) {
          let head: Buffer | undefined = Buffer.alloc(0);
          for await (const chunk of chunks) {
            if (!head) {
              yield chunk;
              continue;
            }
            head = Buffer.concat([head, chunk]);
            const end = head.indexOf('\r\n\r\n');
            if (end < 0) continue;
            writeHead(response, head.subarray(0, end).toString('latin1'));
            const rest = head.subarray(end + 4);
            head = undefined;
            if (rest.length > 0) yield rest;
          }
          if (head) throw new Error(`git http-backend sent no header: ${head.toString('latin1')}`);
        },
        response,
      );
    },
    end() {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      try {
        process.kill(-child.pid, 'SIGTERM');
      } catch {
        // It was over in this very moment.
      }
    },
  };
}

function writeHead(response: ServerResponse, head: string): void {
  let status = 200;
  for (const line of head.split('\r\n')) {
    const colon = line.indexOf(':');
    const [name, value] = [line.slice(0, colon), line.slice(colon + 1).trim()];
    if (name.toLowerCase() === 'status') status = Number.parseInt(value, 10);
    else response.setHeader(name, value);
  }
  response.writeHead(status);
}
