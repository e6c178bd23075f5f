/**
 * The log of what the policy refuses: a line for each packet that the kernel counts, with the name that
 * the name server gave its address out for. From a namespace nftables cannot write into the kernel's log
 * (net.netfilter.nf_log_all_netns), so the refused packets are traced, and `nft monitor` tells of them.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { until } from '../../support/until.ts';

/** Rules for the end of the output chain, where only what is to be refused comes. */
export const refuse = `
    udp dport 9 meta nftrace set 1 drop
    meta nftrace set 1 counter name refused reject with tcp reset`;

export interface Refusals {
  /** A line for each that the kernel has counted: `refused tcp to <name> (<address>) port <port>`. */
  lines(): Promise<readonly string[]>;
  close(): Promise<void>;
}

/**
 * @param names what the name server has answered: the name by the address
 * @param somewhere an address that packets find a way to
 */
export async function followRefusals(
  names: ReadonlyMap<string, string>,
  somewhere: string,
): Promise<Refusals> {
  const lines: string[] = [];
  let follows = false;
  const monitor = spawn('nft', ['--numeric', 'monitor', 'trace'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(monitor, 'exit');
  process.on('exit', () => monitor.kill());
  createInterface(monitor.stdout).on('line', (line) => {
    const packet = / packet: .* ip6? daddr (\S+) .* (tcp|udp) dport (\d+)/.exec(line);
    const [, address = '', protocol, port] = packet ?? [];
    if (port === '9') follows = true;
    else if (packet) {
      const name = names.get(address);
      const to = name ? `${name} (${address})` : address;
      lines.push(`refused ${protocol} to ${to} port ${port}`);
    }
  });
  // It does not say when it has begun to listen; it tells of a packet to the port named `discard`.
  const socket = createSocket('udp4');
  await until('nft tells of refusals', () => {
    socket.send('', 9, somewhere, () => {});
    return follows;
  });
  socket.close();
  return {
    async lines() {
      await until('all that is counted is logged', () => lines.length >= countRefused());
      return [...lines];
    },
    async close() {
      monitor.kill();
      await ended;
    },
  };
}

/** How many packets the kernel has refused so far. */
export function countRefused(): number {
  const command = ['--json', 'list', 'counter', 'inet', 'egress', 'refused'];
  const { nftables } = JSON.parse(execFileSync('nft', command).toString());
  return nftables.find((each: { counter?: object }) => each.counter).counter.packets;
}
