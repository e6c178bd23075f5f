/**
 * Finds a port for a program that cannot take port 0, or that must start again on the same port.
 * Linux gives outgoing connections ports from 32768 on. The ports here are lower, so that no such connection takes
 * one of them while no program listens on it.
 */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

const [lowest, above] = [10_000, 30_000];
/** Ports that this process has got: a program may not listen on them yet. */
const given = new Set<number>();

/** A port of loopback, from 10000 to 29999, on which no program listens now; never the same one twice. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(lowest, above);
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  }
  server.close();
  await once(server, 'close');
  return true;
}
