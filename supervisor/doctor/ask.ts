/**
 * One GET request over HTTPS. Only the status is used: the body may hold secrets and is not read.
 */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import type { Environment } from '../../shared/config.ts';
import { type Target, withConnection } from './connect.ts';

export interface Question extends Target {
  path: string;
  token: string;
}

/** @returns the status. @throws Error without a response */
export function ask(
  { path, token, ...target }: Question,
  environment: Environment,
  signal: AbortSignal,
): Promise<number> {
  return withConnection(target, environment, signal, async (socket) => {
    const asked = request({
      host: target.host,
      path,
      headers: { authorization: `Bearer ${token}`, 'user-agent': 'berth', connection: 'close' },
      createConnection: () => socket,
      signal,
    });
    asked.end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    response.destroy();
    return response.statusCode ?? 0;
  });
}
