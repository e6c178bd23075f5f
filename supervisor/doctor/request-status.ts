/**
 * Sends a GET request over HTTPS and returns the status. The body is not read, because it may hold
 * secrets.
 */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import type { Environment } from '../../shared/config.ts';
import { type Target, withConnection } from './connect.ts';

export interface StatusRequest extends Target {
  path: string;
  token: string;
}

/** @returns the HTTP status. @throws Error if there is no response */
export function requestStatus(
  { path, token, ...target }: StatusRequest,
  environment: Environment,
  signal: AbortSignal,
): Promise<number> {
  return withConnection(target, environment, signal, async (socket) => {
    const outgoing = request({
      host: target.host,
      path,
      headers: { authorization: `Bearer ${token}`, 'user-agent': 'berth', connection: 'close' },
      createConnection: () => socket,
      signal,
    });
    outgoing.end();
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    response.destroy();
    return response.statusCode ?? 0;
  });
}
