/**
 * One `berth login` at a time in a pod: whoever has it listens on an abstract socket, which the kernel
 * closes with the process, however that ends.
 */
import { createServer } from 'node:net';
import { digestOf } from '../../shared/credentials.ts';
import { BerthError, messageOf, systemCode } from '../../shared/errors.ts';

/**
 * @returns what gives it up again
 * @throws BerthError `lease_held` if another has it
 */
export function takeTurn(configDirectory: string): Promise<() => void> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      const held = systemCode(error) === 'EADDRINUSE';
      const cause = held ? 'another `berth login` is under way here' : messageOf(error);
      const remedy = 'finish that one, or end it';
      reject(new BerthError('lease_held', `cannot log in: ${cause}; ${remedy}`, { cause: error }));
    });
    const path = `\0berth-login/${digestOf(configDirectory).slice(0, 16)}`;
    server.listen({ path }, () => resolve(() => void server.close()));
  });
}
