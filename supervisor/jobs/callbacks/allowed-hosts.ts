/**
 * The setting BERTH_CALLBACK_HOSTS: to which hosts berth sends callbacks. An entry is a name, `*.suffix` or a network, each
 * with a port or without.
 * Invariants: names are compared in lower case, as ASCII (IDNA) and without a dot at the end. `*.suffix` does not match the
 * suffix itself. A host that is an address needs a network. The address of a listed name must be an ordinary address, or
 * be listed by a network too.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { isSpecial, isWithin, listsSpecial, type Network, parseNetwork } from './addresses.ts';

interface Entry {
  /** As in the setting. */
  text: string;
  /** Undefined: every port. */
  port: number | undefined;
  name?: string;
  /** With a dot at the front. */
  suffix?: string;
  network?: Network;
}

export class AllowedHosts {
  readonly #entries: readonly Entry[];

  private constructor(entries: readonly Entry[]) {
    this.#entries = entries;
  }

  /**
   * @param text entries with commas or white space between them
   * @throws Error that names the wrong entry
   */
  static parse(text: string): AllowedHosts {
    return new AllowedHosts(
      text
        .split(/[\s,]+/)
        .filter(Boolean)
        .map(readEntry),
    );
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  /** The entries that name one host, for a check of the connection. */
  get named(): { host: string; port: number | undefined }[] {
    return this.#entries.flatMap(({ name, port }) => (name ? [{ host: name, port }] : []));
  }

  /** @param host a name or an address, as the URL parser returns it, without brackets */
  allows(host: string, port: number): boolean {
    const wanted = host.replace(/\.$/, '');
    return this.#of(port).some(({ name, suffix, network }) => {
      if (network) return isIP(host) > 0 && this.#listsAddress(host, network);
      return name === wanted || (suffix !== undefined && wanted.endsWith(suffix));
    });
  }

  /** Whether a connection to this address is allowed, for a host that is allowed. */
  allowsAddress(address: string, port: number): boolean {
    if (!isSpecial(address)) return true;
    return this.#of(port).some(({ network }) => network && listsSpecial(address, network));
  }

  #of(port: number): Entry[] {
    return this.#entries.filter((entry) => entry.port === undefined || entry.port === port);
  }

  #listsAddress(address: string, network: Network): boolean {
    return isSpecial(address) ? listsSpecial(address, network) : isWithin(address, network);
  }
}

/** The schema of the setting. */
export const allowedHosts = z.string().transform((value, context): AllowedHosts => {
  try {
    return AllowedHosts.parse(value);
  } catch (error) {
    context.addIssue({ code: 'custom', message: (error as Error).message });
    return z.NEVER;
  }
});

function readEntry(text: string): Entry {
  const [, bracketed, bare = '', digits] =
    /^(?:\[([^\]]+)\]|([^\]]+?))(?::(\d{1,5}))?$/.exec(text) ?? [];
  // Without brackets, `::1:5678` is an address and has no port.
  const whole = bracketed === undefined ? parseNetwork(text) : undefined;
  if (whole) return { text, port: undefined, network: whole };
  const port = digits === undefined ? undefined : Number(digits);
  const network = parseNetwork(bracketed ?? bare);
  const isPort = port === undefined || (port > 0 && port < 65_536);
  if (isPort && network) return { text, port, network };
  const wildcard = bare.startsWith('*.');
  const name = nameOf(wildcard ? bare.slice(2) : bare);
  if (isPort && name !== undefined && bracketed === undefined) {
    return { text, port, ...(wildcard ? { suffix: `.${name}` } : { name }) };
  }
  throw new Error(
    `names, suffixes and networks, each with a port or without, such as n8n.n8n.svc:5678,*.example.com,10.0.0.0/8; ${JSON.stringify(text)} is none of them`,
  );
}

/** A host name as the URL parser writes it; undefined if it is no name. */
function nameOf(text: string): string | undefined {
  if (/[/?#@:\\[\]*\s%]/.test(text) || !URL.canParse(`http://${text}/`)) return undefined;
  const name = new URL(`http://${text}/`).hostname.replace(/\.$/, '');
  return isIP(name) > 0 || !/^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name) ? undefined : name;
}
