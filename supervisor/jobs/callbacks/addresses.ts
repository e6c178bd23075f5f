/**
 * Which ranges an IP address belongs to, for the decision whether a callback may be sent there.
 * Invariants: an IPv4 address within an IPv6 address (mapped, or of NAT64) is judged as the IPv4 address. Addresses at
 * which a cloud serves the secrets of its machines have a range of their own, `metadata`.
 */
import { isIP, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';

type Address = ipaddr.IPv4 | ipaddr.IPv6;

export interface Network {
  readonly address: Address;
  /** Bits. */
  readonly prefix: number;
  /** The range of all addresses of the network; undefined if there are several. */
  readonly range: string | undefined;
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
  if (!isIP(address) || address.includes('%') || rest.length > 0) return undefined;
  const parsed = parse(address);
  const longest = parsed.kind() === 'ipv4' ? 32 : 128;
  if (prefix !== undefined && !/^\d{1,3}$/.test(prefix)) return undefined;
  const bits = Number(prefix ?? longest);
  if (bits > longest) return undefined;
  return { address: parsed, prefix: bits, range: commonRange(parsed, bits) };
}

/** Whether the address is in the network, as it is written or as the IPv4 address within it. */
export function isWithin(address: string, network: Network): boolean {
  if (!isIP(address)) return false;
  const written = parse(address);
  return [written, plain(written)].some((each) => contains(network, each));
}

/** Whether no ordinary server has this address: loopback, link-local, multicast, metadata and the like. */
export function isSpecial(address: string): boolean {
  return !isIP(address) || !ordinary.includes(rangeOf(parse(address)));
}

/**
 * Whether the network lists this special address. A network that is larger than a special range lists none of the range:
 * 0.0.0.0/0 does not list 127.0.0.1, and 100.64.0.0/10 does not list a metadata service.
 */
export function listsSpecial(address: string, network: Network): boolean {
  return isWithin(address, network) && rangeOf(parse(address)) === network.range;
}

/** A network is within one range if its first and its last address are. */
function commonRange(address: Address, prefix: number): string | undefined {
  const text = `${address.toNormalizedString()}/${prefix}`;
  const [first, last] =
    address.kind() === 'ipv4'
      ? [ipaddr.IPv4.networkAddressFromCIDR(text), ipaddr.IPv4.broadcastAddressFromCIDR(text)]
      : [ipaddr.IPv6.networkAddressFromCIDR(text), ipaddr.IPv6.broadcastAddressFromCIDR(text)];
  const range = rangeOf(first);
  return range === rangeOf(last) ? range : undefined;
}

function contains(
  { address, prefix }: Pick<Network, 'address' | 'prefix'>,
  candidate: Address,
): boolean {
  return candidate.kind() === address.kind() && candidate.match(address, prefix);
}

function rangeOf(address: Address): string {
  const judged = plain(address);
  if (metadata.some((each) => isSame(judged, parse(each)))) return 'metadata';
  // IPv4-compatible addresses, which nothing uses any more.
  const compatible = { address: parse('::'), prefix: 96 };
  if (judged.range() === 'unicast' && contains(compatible, judged)) return 'compatible';
  return judged.range();
}

function isSame(one: Address, other: Address): boolean {
  return one.kind() === other.kind() && one.toNormalizedString() === other.toNormalizedString();
}

/** The IPv4 address within the address, if it is mapped or of NAT64. */
function plain(address: Address): Address {
  if (!(address instanceof ipaddr.IPv6)) return address;
  const nat64 = { address: parse('64:ff9b::'), prefix: 96 };
  if (address.range() !== 'ipv4Mapped' && !contains(nat64, address)) return address;
  return new ipaddr.IPv4(address.toByteArray().slice(-4));
}

/** The URL parser reads `::1.2.3.4` as it is; ipaddr.js would take it for a mapped address. */
function parse(text: string): Address {
  if (!isIPv6(text)) return ipaddr.parse(text);
  const [bare] = text.split('%');
  return ipaddr.parse(new URL(`http://[${bare}]/`).hostname.slice(1, -1));
}
