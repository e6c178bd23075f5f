/**
 * Proves that the holder of a lease is dead, for programs in the same network namespace: all
 * containers of a pod, also after a restart. The holder listens on an abstract socket named after
 * its lease. The kernel closes the socket with the process, in every case.
 *
 * Why "nobody listens" proves death: the proof counts only if this kernel (boot id) and this
 * network namespace (inode number) are those that the lease names. The number is reused only when
 * no process is left in the namespace that had it. So either this is the holder's namespace, and
 * the answer of the kernel is about the holder, or the holder's namespace has ended, and the holder
 * with it. The socket exists before the lease, and a suspended process still listens. Process ids
 * would prove less: each start of a container has different ids. Every doubt (another node, no
 * /proc, a connection refused for another reason) proves nothing; then the lease expires by the age
 * of its heartbeat.
 */
import { readFile, readlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { systemCode } from './errors.ts';

export interface Witness {
  /** The address of the witness for the lease file; undefined if there is no witness. */
  readonly place: string | undefined;
  close(): void;
}

/** Milliseconds: the kernel answers at once. */
const timeout = 1_000;

/**
 * Listens for the lease of `owner` as long as this process lives.
 * @param receive gets each connection; without it each connection is closed
 */
export async function openWitness(
  owner: string,
  receive: (socket: Socket) => void = (socket) => void socket.destroy(),
): Promise<Witness> {
  const place = await placeOfThisProcess();
  const server = place === undefined ? undefined : await listen(owner, receive);
  return {
    place: server ? place : undefined,
    close: () => void server?.close(),
  };
}

/** Whether the holder of a lease is certainly dead. */
export async function isCertainlyDead(owner: string, place: string | undefined): Promise<boolean> {
  if (place === undefined || place !== (await placeOfThisProcess())) return false;
  return new Promise((resolve) => {
    const socket = connect({ path: witnessName(owner) });
    const answer = (dead: boolean) => {
      socket.destroy();
      resolve(dead);
    };
    socket.setTimeout(timeout, () => answer(false));
    socket.once('connect', () => answer(false));
    socket.once('error', (error) => answer(systemCode(error) === 'ECONNREFUSED'));
  });
}

/** Undefined if the kernel has no such information. */
async function placeOfThisProcess(): Promise<string | undefined> {
  if (process.platform !== 'linux') return undefined;
  try {
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    const network = await readlink('/proc/self/ns/net');
    return /^[0-9a-f-]{36}$/.test(boot) && /^net:\[\d+\]$/.test(network)
      ? `${boot} ${network}`
      : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The pod of this process: its kernel, and the namespaces that the containers of a pod share.
 * Undefined if the kernel does not show them.
 */
export async function podOfThisProcess(): Promise<string | undefined> {
  const place = await placeOfThisProcess();
  const ipc = place && (await readlink('/proc/self/ns/ipc').catch(() => ''));
  return ipc && /^ipc:\[\d+\]$/.test(ipc) ? `${place} ${ipc}` : undefined;
}

function listen(owner: string, receive: (socket: Socket) => void): Promise<Server | undefined> {
  const server = createServer(receive);
  server.unref();
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined));
    server.listen({ path: witnessName(owner) }, () => resolve(server));
  });
}

/** In the abstract namespace: needs no file and ends with its listener. */
export function witnessName(owner: string): string {
  return `\0berth-lease/${owner}`;
}
