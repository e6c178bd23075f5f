/** Opening and closing a server's socket. */
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
      // No IPv6 here: all addresses are those of IPv4.
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

/** Where the server listens, if it does. */
export function originOf(server: FastifyInstance | undefined): string | undefined {
  return server?.server.listening ? server.listeningOrigin : undefined;
}

/**
 * Closes the server: who has its answer may still read it, for a moment.
 * The server itself would wait without end for a client that does not read, or not send, and for
 * each connection that becomes idle later until its keep-alive is over.
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
