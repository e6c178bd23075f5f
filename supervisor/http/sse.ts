/**
 * Server-sent events on one response: the rules of the format in one place.
 * Always holds: a comment goes out every 15 s so that proxies keep the connection, and a reader who
 * does not read is cut off before its backlog exceeds a bound.
 */
import type { ServerResponse } from 'node:http';

const commentEvery = 15_000;
/** Bytes that may wait for a slow reader. */
const longestBacklog = 4 * 1024 * 1024;

export class EventStream {
  readonly #response: ServerResponse;
  readonly #timer: NodeJS.Timeout;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store, no-transform',
      // nginx would collect the events otherwise.
      'x-accel-buffering': 'no',
    });
    response.flushHeaders();
    this.#timer = setInterval(() => this.#write(': still here\n\n'), commentEvery);
    response.once('close', () => clearInterval(this.#timer));
  }

  send(event: string, data: unknown): void {
    this.#write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  end(): void {
    clearInterval(this.#timer);
    this.#response.end();
  }

  #write(text: string): void {
    if (this.#response.destroyed || this.#response.writableEnded) return;
    // What already waits counts, not this text: a large answer is no sign of a slow reader.
    if (this.#response.writableLength > longestBacklog) this.#response.destroy();
    else this.#response.write(text);
  }
}
