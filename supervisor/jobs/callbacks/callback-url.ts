/**
 * The URL of a callback: where the connection goes, and the path that is sent.
 * Invariants: path and query are sent byte for byte, because a receiver may have signed them. So a URL with characters that
 * URL parsers change or interpret differently is refused. No error contains more of the URL than its host.
 */
import { BerthError } from '../../../shared/errors.ts';

export interface CallbackUrl {
  tls: boolean;
  /** A name in lower case and ASCII, or an address without brackets. */
  host: string;
  port: number;
  /** The target of the request: path and query, as received. */
  path: string;
  /** `host`, or `host:port` if the port is not the default: for the Host header, messages and logs. */
  authority: string;
}

/** In characters. */
const longest = 4_096;

/** @throws BerthError `invalid_request` */
export function parseCallbackUrl(text: string): CallbackUrl {
  const [, scheme = '', authority = '', rest = ''] =
    /^(https?):\/\/([^/?#]+)([^#]*)/i.exec(text) ?? [];
  if (!scheme || !URL.canParse(text)) throw refused('it is not an absolute http or https URL');
  if (text.length > longest) throw refused(`it is longer than ${longest} characters`);
  if (/[\s\\]/.test(authority) || !/^[!-~]*$/.test(rest) || /^[^?]*\\/.test(rest)) {
    throw refused('it has characters that a URL must encode');
  }
  if (authority.includes('@'))
    throw refused(
      'it has a user name or a password, which logs and errors of other programs could show',
    );
  const { hostname, host, port, protocol } = new URL(text);
  const tls = protocol === 'https:';
  return {
    tls,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port ? Number(port) : tls ? 443 : 80,
    path: rest.startsWith('/') ? rest : `/${rest}`,
    authority: host,
  };
}

function refused(cause: string): BerthError {
  return new BerthError(
    'invalid_request',
    `cannot accept callback_url: ${cause}; send a URL such as https://n8n.example.com/webhook-waiting/7`,
  );
}
