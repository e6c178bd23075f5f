/**
 * Identifies the caller of a request by its bearer token, records when each name last called, and
 * counts refused requests.
 * Invariants: no token is kept or logged. Refused requests cause one log line a minute at most.
 */
import type { FastifyRequest } from 'fastify';
import { BerthError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { errorShapeOf } from './compatible/foreign.ts';
import type { Bearer, Tokens } from './tokens.ts';

export interface AuthenticationOptions {
  tokens: Tokens;
  log: Log;
  /** Called for each refused request: it had no token, or an unknown token. */
  onFailure: (reason: 'missing' | 'unknown') => void;
}

/** Milliseconds between two log lines about refused requests. */
const quiet = 60_000;

export class Authentication {
  readonly #options: AuthenticationOptions;
  readonly #lastUse = new Map<string, number>();
  readonly #refused = { missing: 0, unknown: 0 };
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AuthenticationOptions) {
    this.#options = options;
  }

  /** @throws BerthError `unauthorized` */
  bearerOf(request: FastifyRequest): Bearer {
    const { headers, ip } = request;
    const [, bearing] = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '') ?? [];
    // Clients of Anthropic's API send their key in a header of its own.
    const key = errorShapeOf(request) === undefined ? undefined : headers['x-api-key'];
    const token = bearing ?? (typeof key === 'string' && key !== '' ? key : undefined);
    const bearer = token && this.#options.tokens.find(token);
    if (bearer) {
      this.#lastUse.set(bearer.name, Date.now());
      return bearer;
    }
    this.#refuse(token ? 'unknown' : 'missing', ip);
    const cause = token ? 'the token is unknown' : 'it carries no token';
    throw new BerthError(
      'unauthorized',
      `cannot accept the request: ${cause}; send "Authorization: Bearer <token>" with a token of BERTH_API_TOKENS_FILE`,
    );
  }

  /** All names with a token, each with the time of its last call since the start of the program. */
  uses(): { name: string; last_used_at: string | null }[] {
    return this.#options.tokens.names().map((name) => {
      const used = this.#lastUse.get(name);
      return { name, last_used_at: used === undefined ? null : new Date(used).toISOString() };
    });
  }

  /** Logs the refused requests that are not logged yet. */
  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#report();
  }

  /** Logs the first refused request at once, and those of the next minute together. */
  #refuse(reason: 'missing' | 'unknown', address: string): void {
    this.#options.onFailure(reason);
    this.#refused[reason] += 1;
    if (this.#timer !== undefined) return;
    this.#report(address);
    const again = (): void => {
      this.#timer = this.#report() ? setTimeout(again, quiet).unref() : undefined;
    };
    this.#timer = setTimeout(again, quiet).unref();
  }

  #report(address?: string): boolean {
    const { missing, unknown } = this.#refused;
    if (missing + unknown === 0) return false;
    Object.assign(this.#refused, { missing: 0, unknown: 0 });
    const requests = missing + unknown === 1 ? '1 request' : `${missing + unknown} requests`;
    this.#options.log.warn('auth_failed', `${requests} without a valid token`, {
      missing,
      unknown,
      ...(address === undefined ? {} : { address }),
    });
    return true;
  }
}
