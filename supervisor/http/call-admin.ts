/** `berth pause` and `berth resume`: call the server in the same pod, with an API token. */
import { createInterface } from 'node:readline';
import { type Readable, Writable } from 'node:stream';
import { BerthError, messageOf } from '../../shared/errors.ts';
import type { Listen } from '../../shared/setting-types.ts';

export interface AdminCall {
  command: 'pause' | 'resume';
  reason: string | undefined;
  token: string;
  /** Where the server listens. */
  at: Listen;
}

/** Milliseconds. */
const deadline = 10_000;

/**
 * @returns what the server answered, as text for a person
 * @throws BerthError `config_invalid` if the server cannot be reached or refuses
 */
export async function callAdmin({ command, reason, token, at }: AdminCall): Promise<string> {
  const url = `http://${loopback(at)}/v1/${command}`;
  const failed = (cause: string, remedy: string): BerthError =>
    new BerthError('config_invalid', `cannot ${command} the server at ${url}: ${cause}; ${remedy}`);
  let response: Response;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        ...(command === 'pause' ? { 'content-type': 'application/json' } : {}),
      },
      body: command === 'pause' ? JSON.stringify(reason === undefined ? {} : { reason }) : null,
      signal: AbortSignal.timeout(deadline),
    });
  } catch (error) {
    const cause = messageOf((error as Error).cause ?? error);
    throw failed(cause, 'run this where the server runs, with its BERTH_HTTP_LISTEN');
  }
  const text = await response.text();
  if (!response.ok) throw failed(`${response.status} ${text}`, 'see its answer');
  return `${text}\n`;
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
