/**
 * A TCP proxy that counts, and whose connections can fall silent, as after the loss of a node: no packet arrives, and
 * nothing closes.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Test } from 'tap';

export interface TcpProxy {
  readonly port: number;
  /** The connections so far. */
  readonly count: number;
  /** Bytes from the server to its clients. */
  readonly received: number;
  /** The connections so far forward nothing any more, and stay open. New connections work. */
  silence(): void;
  /**
   * From now on each connection forwards nothing more to its client once the client has sent `request`.
   * @returns whether that has happened, and what ends it
   */
  holdAfter(request: RegExp): { readonly count: number; release(): void };
}

/** A proxy for a port of loopback, which ends with the test. */
export async function tcpProxy(t: Test, to: number): Promise<TcpProxy> {
  const sockets: Socket[] = [];
  let count = 0;
  let received = 0;
  let hold: { request: RegExp; held: (() => void)[] } | undefined;
  // Half open: the proxy does not answer the end of a connection with its own.
  const server = createServer({ allowHalfOpen: true }, (client) => {
    count += 1;
    const upstream = connect(to, '127.0.0.1');
    sockets.push(client, upstream);
    for (const socket of [client, upstream]) socket.on('error', () => socket.destroy());
    // Without a server behind it, the proxy answers as a port on which nobody listens.
    upstream.once('error', () => client.destroy());
    client.on('data', (data: Buffer) => {
      if (!hold?.request.test(data.toString('latin1'))) return;
      upstream.unpipe(client);
      hold.held.push(() => upstream.pipe(client));
    });
    client.pipe(upstream).pipe(client);
    upstream.on('data', (data: Buffer) => {
      received += data.length;
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    get count() {
      return count;
    },
    get received() {
      return received;
    },
    holdAfter: (request) => {
      const held: (() => void)[] = [];
      hold = { request, held };
      return {
        get count() {
          return held.length;
        },
        release: () => {
          hold = undefined;
          for (const forward of held) forward();
        },
      };
    },
    silence: () => {
      for (const socket of sockets) socket.unpipe().removeAllListeners('data').pause();
    },
  };
}
