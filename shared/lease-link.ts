/**
 * The link between the two programs of one pod that share the lease on the volume: a connection to
 * the witness of the program that keeps the lease (lease-witness.ts). The other program is its
 * guest. Messages are JSON, one on each line.
 * Invariants: the kernel ends the link when either program ends. A line is bounded. Every process of
 * the pod can connect, so a message is untrusted input.
 */
import { connect, type Socket } from 'node:net';
import { z } from 'zod';
import { type LeaseFile, leaseFile } from './lease-file.ts';
import { witnessName } from './lease-witness.ts';

/** The programs that share a lease: the supervisor, and the init that stays. */
export type LeaseRole = 'serve' | 'sync';

export interface Peer {
  /** The other program. */
  readonly role: LeaseRole;
  /** Sends a value that JSON can carry; a message to a program that has ended is lost. */
  send(message: unknown): void;
  /** Sets the only listener; messages that came before are delivered to it at once. */
  onMessage(listener: (message: unknown) => void): void;
  /** Aborts when the other program has ended, or has closed the link. */
  readonly closed: AbortSignal;
  close(): void;
}

const longestLine = 64 * 1024;
/** Messages that wait for a listener. */
const mostWaiting = 100;
/** Milliseconds in which the two programs must have agreed. */
const patience = 1_000;

const request = z.object({
  join: z.enum(['serve', 'sync']),
  pod: z.string().max(200),
  /** What the keeper writes to hand the lease over to its guest. */
  lease: leaseFile,
});
const consent = z.object({ joined: z.enum(['serve', 'sync']) });

export interface GuestOptions {
  role: LeaseRole;
  pod: string;
  /** Whether a guest may join now. */
  mayJoin: (role: LeaseRole) => boolean;
  onGuest: (peer: Peer, lease: LeaseFile) => void;
}

/** Answers a program that wants to join; any other connection is closed. */
export function receiveGuest(socket: Socket, options: GuestOptions): void {
  let receive: ((message: unknown) => void) | undefined;
  socket.on('error', () => socket.destroy());
  socket.setTimeout(patience, () => socket.destroy());
  onLines(socket, (message) => {
    if (receive) return receive(message);
    const { data: asked } = request.safeParse(message);
    const welcome =
      asked?.pod === options.pod && asked.join !== options.role && options.mayJoin(asked.join);
    if (!asked || !welcome) return void socket.destroy();
    socket.setTimeout(0);
    socket.write(`${JSON.stringify({ joined: options.role })}\n`);
    const link = peerOn(socket, asked.join);
    receive = link.receive;
    options.onGuest(link.peer, asked.lease);
  });
}

/**
 * Joins the program that keeps the lease of `owner`.
 * @returns undefined if that program does not answer, or does not accept a guest now
 */
export function joinKeeper(
  owner: string,
  guest: { role: LeaseRole; pod: string; lease: LeaseFile },
): Promise<Peer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ path: witnessName(owner) });
    let receive: ((message: unknown) => void) | undefined;
    socket.on('error', () => socket.destroy());
    socket.setTimeout(patience, () => socket.destroy());
    socket.once('close', () => resolve(undefined));
    socket.once('connect', () => {
      const { role, pod, lease } = guest;
      socket.write(`${JSON.stringify({ join: role, pod, lease })}\n`);
    });
    onLines(socket, (message) => {
      if (receive) return receive(message);
      const { data } = consent.safeParse(message);
      if (!data) return void socket.destroy();
      socket.setTimeout(0);
      const link = peerOn(socket, data.joined);
      receive = link.receive;
      resolve(link.peer);
    });
  });
}

function peerOn(
  socket: Socket,
  role: LeaseRole,
): { peer: Peer; receive: (message: unknown) => void } {
  const closed = new AbortController();
  const waiting: unknown[] = [];
  let listener: ((message: unknown) => void) | undefined;
  socket.once('close', () => closed.abort());
  const peer: Peer = {
    role,
    closed: closed.signal,
    send: (message) => {
      if (!socket.destroyed) socket.write(`${JSON.stringify(message)}\n`);
    },
    onMessage: (to) => {
      listener = to;
      for (const message of waiting.splice(0)) to(message);
    },
    close: () => void socket.destroy(),
  };
  const receive = (message: unknown) => {
    if (listener) listener(message);
    else if (waiting.length < mostWaiting) waiting.push(message);
    else socket.destroy();
  };
  return { peer, receive };
}

function onLines(socket: Socket, take: (message: unknown) => void): void {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    rest += chunk;
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > longestLine) socket.destroy();
    for (const line of lines) {
      if (socket.destroyed) return;
      take(parse(line));
    }
  });
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
