/**
 * Closes the API server without a connection reset for any client: running requests are answered,
 * new requests are refused, and the listener closes last.
 * Invariant: after `refuse` no request reaches a route.
 *
 * The kernel accepts connections by itself. When a listener closes, the kernel resets each connection
 * that it has accepted and the program has not. Clients connect again as soon as they have an answer,
 * so answers are held back until the listener has closed: then no client is about to connect.
 */
import type { Server, ServerResponse } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';
import { BerthError } from '../../shared/errors.ts';
import { pause } from '../../shared/waiting.ts';

/** Milliseconds in which a client must have read its answer. */
const readTime = 3_000;

/** Milliseconds without a new connection after which no client is about to connect. */
const quiet = 50;

/** Milliseconds after which the listener closes, though clients still connect. */
const quietDeadline = 500;

export class GracefulClose {
  readonly #open = new Set<ServerResponse>();
  readonly #answers = Promise.withResolvers<void>();
  #server: Server | undefined;
  #lastConnection = -Infinity;
  #refuses = false;
  #holds = false;

  /** Must be called before the server listens. */
  watch(server: Server): void {
    this.#server = server;
    server.on('connection', () => {
      this.#lastConnection = performance.now();
    });
    server.on('request', (_request, response: ServerResponse) => {
      this.#open.add(response);
      response.once('close', () => this.#open.delete(response));
    });
  }

  /**
   * Must be called for each request after its body has been read: the kernel resets a connection that
   * closes with unread bytes.
   * @throws BerthError `draining` after `refuse`
   */
  async pass(): Promise<void> {
    if (!this.#refuses) return;
    if (this.#holds) await this.#answers.promise;
    throw new BerthError(
      'draining',
      'cannot accept the request: the server is stopping; try again in a moment',
      { details: { retry_after: 5 } },
    );
  }

  /** Refuses new requests, and returns when all earlier requests have been answered. */
  async refuse(): Promise<void> {
    this.#refuses = true;
    await this.#answered();
  }

  /** Closes the listener, then sends the held answers, then closes every connection. */
  async close(): Promise<void> {
    const server = this.#server;
    if (!server?.listening) return;
    this.#refuses = true;
    this.#holds = true;
    server.keepAliveTimeout = 1;
    await this.#quiet();
    const closed = new Promise((resolve) => server.close(resolve));
    this.#answers.resolve();
    // A connection without a request has no answer to wait for.
    const timer = setTimeout(() => server.closeAllConnections(), readTime);
    await closed;
    clearTimeout(timer);
  }

  /** Returns when no new connection has come for a moment, or at a deadline. */
  async #quiet(): Promise<void> {
    const deadline = performance.now() + quietDeadline;
    for (;;) {
      const now = performance.now();
      const left = Math.min(this.#lastConnection + quiet, deadline) - now;
      if (left > 0) await pause(left);
      const before = this.#lastConnection;
      await turn();
      if (this.#lastConnection === before || now > deadline) return;
    }
  }

  /** Waits for the running requests. A client that does not read or send is disconnected. */
  async #answered(): Promise<void> {
    const open = [...this.#open];
    const timer = setTimeout(() => {
      for (const response of open) response.destroy();
    }, readTime);
    await Promise.all(
      open.map((response) => new Promise<void>((resolve) => response.once('close', resolve))),
    );
    clearTimeout(timer);
  }
}
