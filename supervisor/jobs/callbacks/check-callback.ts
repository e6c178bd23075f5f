/**
 * Checks the URL of a callback when a job is accepted, and the host again before each request.
 * Invariant: an error names the setting that an operator must change, and never the path of the URL.
 */
import { BerthError } from '../../../shared/errors.ts';
import { within } from '../../../shared/waiting.ts';
import { allowedAddresses, HostRefused, type Resolve } from './allowed-addresses.ts';
import type { AllowedHosts } from './allowed-hosts.ts';
import { type CallbackUrl, parseCallbackUrl } from './callback-url.ts';

/** Milliseconds until a name server must have answered. */
const patience = 2_000;

/** @throws HostRefused */
export function checkHost({ host, port, authority }: CallbackUrl, hosts: AllowedHosts): void {
  if (hosts.allows(host, port)) return;
  const cause = hosts.isEmpty
    ? 'this server sends no callbacks'
    : `callbacks to ${authority} are not allowed`;
  throw new HostRefused(`${cause}; add the host to BERTH_CALLBACK_HOSTS`);
}

/**
 * Checks the host, and also its addresses if they are known in time: a name server that fails now may answer later.
 * @param resolve undefined: a proxy resolves the name
 * @throws BerthError `invalid_request`
 */
export async function checkCallback(
  text: string,
  hosts: AllowedHosts,
  resolve: Resolve | undefined,
): Promise<CallbackUrl> {
  const url = parseCallbackUrl(text);
  try {
    checkHost(url, hosts);
    if (resolve) {
      const signal = AbortSignal.timeout(patience);
      await within(allowedAddresses(url, hosts, resolve, signal), patience);
    }
  } catch (error) {
    if (!(error instanceof HostRefused)) return url;
    throw new BerthError('invalid_request', `cannot accept callback_url: ${error.message}`);
  }
  return url;
}
