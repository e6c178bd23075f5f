/** Opens and closes the socket of a server. */
import type { FastifyInstance } from 'fastify';
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';
import type { Listen } from '../../shared/setting-types.ts';

/** Milliseconds in which a client must have read its answer when the server closes. */
const closeGrace = 3_000;

/**
 * @param settingName the setting that chose the address, for the remedy
 * @returns the origin, `http://127.0.0.1:8080`
 * @throws BerthError `config_invalid`
 */
export async function listen(
  server: FastifyInstance,
  at: Listen,
  settingName: string,
): Promise<string> {
  try {
    return await server.listen(at).catch((error: unknown) => {
      // Without IPv6, all addresses means all addresses of IPv4.
      if (systemCode(error) !== 'EAFNOSUPPORT' || at.host !== '::') throw error;
      return server.listen({ host: '0.0.0.0', port: at.port });
    });
  } catch (error) {
    throw new BerthError(
      'config_invalid',
      `cannot listen on ${at.host}:${at.port}: ${messageOf(error)}; choose another address with ${settingName}`,
      { cause: error },
    );
  }
}

/** The origin at which the server listens; undefined if it does not listen. */
export function originOf(server: FastifyInstance | undefined): string | undefined {
  return server?.server.listening ? server.listeningOrigin : undefined;
}

/**
 * Closes the server. Clients have a moment to read answers that were sent. Without this deadline the
 * server would wait forever for a client that does not read or send.
 */
export async function closeServer(server: FastifyInstance): Promise<void> {
  server.server.keepAliveTimeout = 1;
  const timer = setTimeout(() => server.server.closeAllConnections(), closeGrace);
  try {
    await server.close();
  } finally {
    clearTimeout(timer);
  }
}
