/**
 * A network namespace in which names lead to stand-ins, and a policy lets out to some of them, as
 * Cilium's policies by name do: DNS answers for every name, and the address of a name that the policy
 * has becomes open when it is asked for; whatever else is tried is refused, counted and logged. It is a
 * model of such a policy, with nftables, and not Cilium. Runs inside of `unshare --net --mount`.
 */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { countRefused, followRefusals, refuse } from './refusals.ts';

const nameServer = '10.99.0.53';

export interface Network {
  /** The address of each name. */
  readonly addresses: ReadonlyMap<string, string>;
  /** Each connection that was refused, and each name that was asked for and cannot be resolved. */
  log(): Promise<readonly string[]>;
  /** How many of them the kernel has refused. */
  refused(): number;
  close(): Promise<void>;
}

/** An address that no name leads to, with something that would answer there. */
export const bareAddress = '203.0.113.7';

/**
 * @param names all that can be resolved
 * @param open those of them that may be connected to, at port 443
 * @param directory for files of its own
 */
export async function openNetwork(
  names: readonly string[],
  open: readonly string[],
  directory: string,
): Promise<Network> {
  const addresses = new Map(names.map((name, index) => [name, `10.99.0.${index + 1}`]));
  run('ip', 'link', 'set', 'lo', 'up');
  for (const address of [nameServer, bareAddress, ...addresses.values()]) {
    run('ip', 'address', 'add', `${address}/32`, 'dev', 'lo');
  }
  execFileSync('nft', ['-f', '-'], { input: rules });
  const resolver = join(directory, 'resolv.conf');
  writeFileSync(resolver, `nameserver ${nameServer}\n`);
  run('mount', '--bind', resolver, '/etc/resolv.conf');

  const given = new Map<string, string>();
  const unknown: string[] = [];
  const server = createSocket('udp4', (question, from) => {
    const name = nameIn(question);
    const address = addresses.get(name);
    if (address) given.set(address, name);
    else unknown.push(`asked for ${name}, which there is not`);
    if (address && open.includes(name))
      run('nft', 'add', 'element', 'inet', 'egress', 'open', `{ ${address} . 443 }`);
    server.send(answer(question, address), from.port, from.address);
  });
  server.bind(53, nameServer);
  await once(server, 'listening');
  const refusals = await followRefusals(given, nameServer);
  return {
    addresses,
    async log() {
      return [...unknown, ...(await refusals.lines())];
    },
    refused: countRefused,
    async close() {
      server.close();
      await refusals.close();
    },
  };
}

/** Loopback is the pod's own; what the stand-ins answer comes from their port, and refusals are resets. */
const rules = `
table inet egress {
  set open { type ipv4_addr . inet_service; }
  counter refused { }
  chain output {
    type filter hook output priority 0; policy drop;
    ip daddr 127.0.0.0/8 accept
    ip6 daddr ::1 accept
    ip daddr ${nameServer} udp dport 53 accept
    ip saddr ${nameServer} udp sport 53 accept
    tcp sport 443 accept
    tcp flags & rst == rst accept
    ip daddr . tcp dport @open accept
    ${refuse}
  }
}
`;

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

function nameIn(question: Buffer): string {
  const labels: string[] = [];
  for (let at = 12; question[at]; at += (question[at] ?? 0) + 1) {
    labels.push(question.toString('latin1', at + 1, at + 1 + (question[at] ?? 0)));
  }
  return labels.join('.').toLowerCase();
}

/** One address for a question for A, none for others; a name that is not known does not exist. */
function answer(question: Buffer, address: string | undefined): Buffer {
  const end = question.indexOf(0, 12) + 5;
  const reply = Buffer.from(question.subarray(0, end));
  const isA = question.readUInt16BE(end - 4) === 1;
  reply.writeUInt16BE(address ? 0x8180 : 0x8183, 2);
  reply.writeUInt16BE(address && isA ? 1 : 0, 6);
  reply.fill(0, 8, 12);
  if (!address || !isA) return reply;
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
  return Buffer.concat([reply, record, Buffer.from(address.split('.').map(Number))]);
}
