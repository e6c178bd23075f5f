/**
 * Checks the URL of a callback when a job is accepted. The address is checked again at each connection.
 * Invariant: an error names the setting that an operator must change, and never the path of the URL.
 */
import { BerthError } from '../../../shared/errors.ts';
import type { AllowedHosts } from './allowed-hosts.ts';
import { type CallbackUrl, parseCallbackUrl } from './callback-url.ts';

/** @throws BerthError `invalid_request` */
export function checkCallback(text: string, hosts: AllowedHosts): CallbackUrl {
  const url = parseCallbackUrl(text);
  if (hosts.allows(url.host, url.port)) return url;
  const cause = hosts.isEmpty
    ? 'this server sends no callbacks'
    : `callbacks to ${url.authority} are not allowed`;
  throw new BerthError(
    'invalid_request',
    `cannot accept callback_url: ${cause}; add the host to BERTH_CALLBACK_HOSTS`,
  );
}
