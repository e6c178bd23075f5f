/**
 * Allows one `berth login` at a time in a pod: it listens on an abstract socket, which the kernel
 * closes with the process in every case.
 */
import { createServer } from 'node:net';
import { digestOf } from '../../shared/digest.ts';
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';

/**
 * @returns a function that releases the socket
 * @throws BerthError `lease_held` if another `berth login` is running
 */
export function takeTurn(configDirectory: string): Promise<() => void> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const held = systemCode(error) === 'EADDRINUSE';
      const cause = held ? 'another `berth login` is running here' : messageOf(error);
      const remedy = 'finish or end the other login';
      reject(new BerthError('lease_held', `cannot log in: ${cause}; ${remedy}`, { cause: error }));
    });
    const path = `\0berth-login/${digestOf(configDirectory).slice(0, 16)}`;
    server.listen({ path }, () => resolve(() => void server.close()));
  });
}
