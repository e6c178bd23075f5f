/**
 * Resolves the host of a callback, and keeps the addresses to which a connection is allowed.
 * Invariant: the connection uses the addresses that this file returns. So a name that changes its address after the check
 * (DNS rebinding) gains nothing.
 */
import { type LookupAddress, lookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { promisify } from 'node:util';
import { abortable } from '../../../shared/waiting.ts';
import type { AllowedHosts } from './allowed-hosts.ts';
import type { CallbackUrl } from './callback-url.ts';

export type Resolve = (host: string) => Promise<LookupAddress[]>;

/** The addresses of the system's resolver. */
export const resolveHost: Resolve = (host) => promisify(lookup)(host, { all: true });

/** The host, or all of its addresses, are not allowed. */
export class HostRefused extends Error {}

/**
 * @throws HostRefused; an error of the resolver; the signal's reason
 */
export async function allowedAddresses(
  { host, port, authority }: CallbackUrl,
  hosts: AllowedHosts,
  resolve: Resolve,
  signal: AbortSignal,
): Promise<LookupAddress[]> {
  const family = isIP(host);
  const found = family ? [{ address: host, family }] : await abortable(resolve(host), signal);
  const allowed = found.filter(({ address }) => hosts.allowsAddress(address, port));
  if (allowed.length > 0) return allowed;
  throw new HostRefused(
    `${authority} is at ${found.map(({ address }) => address).join(', ') || 'no address'}, which is no ordinary address; if that is right, add the address to BERTH_CALLBACK_HOSTS as a network`,
  );
}

/** For node:net: the lookup of a host whose addresses are known. */
export function fixedLookup(addresses: LookupAddress[]): LookupFunction {
  const [first = { address: '', family: 0 }] = addresses;
  return (_host, { all }, callback) => {
    if (all) callback(null, addresses);
    else callback(null, first.address, first.family);
  };
}
