/**
 * Which ranges an IP address belongs to, for the decision whether a callback may be sent there.
 * Invariants: an IPv4 address within an IPv6 address (mapped, or of NAT64) is judged as the IPv4 address. Addresses at
 * which a cloud serves the secrets of its machines have a range of their own, `metadata`.
 */
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

export interface Network {
  readonly address: Address;
  /** Bits. */
  readonly prefix: number;
}

/** Ranges in which ordinary servers are, also those of a cluster or a home. All other ranges are special. */
const ordinary: readonly string[] = ['unicast', 'private', 'uniqueLocal', 'carrierGradeNat'];

/** Addresses of metadata services beside 169.254.169.254: Azure, Alibaba, Oracle, AWS and Google over IPv6. */
const metadata: readonly string[] = [
  ...['168.63.129.16', '100.100.100.200', '192.0.0.192'],
  ...['fd00:ec2::254', 'fd20:ce::254'],
];

/** The network of `10.0.0.0/8` or `fd00::/8`; an address alone is a network of one. Undefined for other texts. */
export function parseNetwork(text: string): Network | undefined {
  const [address = '', prefix, ...rest] = text.split('/');
  const isWritten = ipaddr.IPv4.isValidFourPartDecimal(address) || ipaddr.IPv6.isValid(address);
  if (!isWritten || address.includes('%') || rest.length > 0) return undefined;
  const parsed = ipaddr.parse(address);
  const longest = parsed.kind() === 'ipv4' ? 32 : 128;
  if (prefix === undefined) return { address: parsed, prefix: longest };
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > longest) return undefined;
  return { address: parsed, prefix: Number(prefix) };
}

/** Whether the address is in the network, as it is written or as the IPv4 address within it. */
export function isWithin(address: string, network: Network): boolean {
  if (!ipaddr.isValid(address)) return false;
  const written = ipaddr.parse(address);
  return [written, plain(written)].some((each) => contains(network, each));
}

/** Whether no ordinary server has this address: loopback, link-local, multicast, metadata and the like. */
export function isSpecial(address: string): boolean {
  return !ipaddr.isValid(address) || !ordinary.includes(rangeOf(ipaddr.parse(address)));
}

/**
 * Whether the network lists this special address. A network lists special addresses only of the range in which the network
 * begins: 0.0.0.0/0 does not list 127.0.0.1, and 100.64.0.0/10 does not list a metadata service.
 */
export function listsSpecial(address: string, network: Network): boolean {
  if (!isWithin(address, network)) return false;
  return rangeOf(ipaddr.parse(address)) === rangeOf(network.address);
}

function contains({ address, prefix }: Network, candidate: Address): boolean {
  return candidate.kind() === address.kind() && candidate.match(address, prefix);
}

function rangeOf(address: Address): string {
  const judged = plain(address);
  if (metadata.some((each) => isSame(judged, ipaddr.parse(each)))) return 'metadata';
  // IPv4-compatible addresses, which nothing uses any more.
  const compatible = { address: ipaddr.parse('::'), prefix: 96 };
  if (judged.range() === 'unicast' && contains(compatible, judged)) return 'compatible';
  return judged.range();
}

function isSame(one: Address, other: Address): boolean {
  return one.kind() === other.kind() && one.toNormalizedString() === other.toNormalizedString();
}

/** The IPv4 address within the address, if it is mapped or of NAT64. */
function plain(address: Address): Address {
  if (!(address instanceof ipaddr.IPv6)) return address;
  const nat64 = { address: ipaddr.parse('64:ff9b::'), prefix: 96 };
  const bare = new ipaddr.IPv6(address.parts);
  if (bare.range() !== 'ipv4Mapped' && !contains(nat64, bare)) return bare;
  return new ipaddr.IPv4(bare.toByteArray().slice(-4));
}
