/** Calls the server in the same pod with an API token, for `berth pause`, `berth jobs` and similar commands. */
import { createInterface } from 'node:readline';
import { type Readable, Writable } from 'node:stream';
import { BerthError, messageOf } from '../../shared/errors.ts';
import type { Listen } from '../../shared/setting-types.ts';

export interface ServerCall {
  /** For messages: "cannot <what> at <address>". */
  what: string;
  method: 'GET' | 'POST' | 'DELETE';
  /** With the query. */
  path: string;
  body?: unknown;
  token: string;
  /** Where the server listens. */
  at: Listen;
}

/** Milliseconds. */
const deadline = 10_000;

/**
 * @returns the text that the server answered
 * @throws BerthError `config_invalid` if the server cannot be reached or refuses
 */
export async function callServer(call: ServerCall): Promise<string> {
  const { what, method, path, body, token, at } = call;
  const url = `http://${loopback(at)}${path}`;
  const failed = (cause: string, remedy: string): BerthError =>
    new BerthError('config_invalid', `cannot ${what} at ${url}: ${cause}; ${remedy}`);
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(deadline),
    });
  } catch (error) {
    const cause = messageOf((error as Error).cause ?? error);
    throw failed(cause, 'run this where the server runs, with its BERTH_HTTP_LISTEN');
  }
  const text = await response.text();
  if (!response.ok) throw failed(`${response.status} ${text}`, 'see its answer');
  return text;
}

/** @throws BerthError `config_invalid` if there is none */
export async function readToken(input: Readable & { isTTY?: boolean }): Promise<string> {
  if (input.isTTY) process.stderr.write('API token: ');
  // The terminal echoes typed text through this stream only, so the token is not shown.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input, output: nowhere, terminal: input.isTTY === true });
  try {
    for await (const line of lines) if (line.trim() !== '') return line.trim();
  } finally {
    lines.close();
    if (input.isTTY) process.stderr.write('\n');
  }
  throw new BerthError(
    'config_invalid',
    'cannot call the server: there is no API token; put it into BERTH_API_TOKEN_FILE, or write it to standard input',
  );
}

/** The address for a call from this machine; an address of all interfaces includes loopback. */
function loopback({ host, port }: Listen): string {
  if (host === '::' || host === '0.0.0.0') return `127.0.0.1:${port}`;
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
