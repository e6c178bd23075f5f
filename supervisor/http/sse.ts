/**
 * Server-sent events on one response.
 * Invariants: a comment is sent every 15 s, so that proxies keep the connection. Text for a slow reader
 * is merged into one event. A reader whose backlog exceeds a bound is disconnected.
 */
import type { ServerResponse } from 'node:http';
import { within } from '../../shared/waiting.ts';

const commentEvery = 15_000;
/** Milliseconds within which a reader with a backlog must read something. */
const longestPause = 60_000;
/** Bytes that may wait for a slow reader. */
const longestBacklog = 4 * 1024 * 1024;

export class EventStream {
  readonly #response: ServerResponse;
  readonly #onCut: (backlog: number) => void;
  readonly #timer: NodeJS.Timeout;
  /** Text that waits for the reader. */
  #merged = '';

  /** @param onCut called when the reader is disconnected, with the bytes that waited for the reader */
  constructor(response: ServerResponse, onCut: (backlog: number) => void = () => {}) {
    this.#response = response;
    this.#onCut = onCut;
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store, no-transform',
      // Without this header nginx would buffer the events.
      'x-accel-buffering': 'no',
    });
    response.flushHeaders();
    this.#timer = setInterval(() => this.#comment(), commentEvery);
    response.once('close', () => clearInterval(this.#timer));
    response.on('drain', () => this.#flush());
  }

  /** Approximate bytes that wait for the reader: merged text counts as one byte a character. */
  get backlog(): number {
    return this.#response.writableLength + this.#merged.length;
  }

  /** @param id for a stream that can be resumed; such events are never merged */
  send(event: string, data: unknown, id?: number): void {
    const text = event === 'text' && id === undefined ? textOf(data) : undefined;
    if (text !== undefined && this.#response.writableNeedDrain) this.#merge(text);
    else {
      this.#flush();
      this.#write(format(event, data, id));
    }
  }

  /** Sends text that has the form of the stream already. */
  frame(text: string): void {
    this.#flush();
    this.#write(text);
  }

  /**
   * Waits for a slow reader. Disconnects a reader that does not read for a while.
   * @returns whether the connection is still open
   */
  async caughtUp(signal: AbortSignal): Promise<boolean> {
    const response = this.#response;
    if (!response.writableNeedDrain) return !response.destroyed;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const go = (): void => resolve(true);
    response.once('drain', go).once('close', go);
    const read = await within(promise, longestPause, signal);
    response.off('drain', go).off('close', go);
    if (read || signal.aborted) return !response.destroyed;
    const { backlog } = this;
    response.destroy();
    this.#onCut(backlog);
    return false;
  }

  end(): void {
    clearInterval(this.#timer);
    this.#flush();
    this.#response.end();
  }

  #comment(): void {
    // A reader with a backlog has data on the connection already.
    if (!this.#response.writableNeedDrain) this.#write(': still here\n\n');
  }

  #merge(text: string): void {
    if (!this.#open()) return;
    this.#merged += text;
  }

  #flush(): void {
    const text = this.#merged;
    if (text === '') return;
    this.#merged = '';
    this.#write(format('text', { text }));
  }

  #write(formatted: string): void {
    if (this.#open()) this.#response.write(formatted);
  }

  /** Only earlier data counts, not the new data: a large answer does not mean a slow reader. */
  #open(): boolean {
    if (this.#response.destroyed || this.#response.writableEnded) return false;
    const { backlog } = this;
    if (backlog <= longestBacklog) return true;
    this.#merged = '';
    this.#response.destroy();
    this.#onCut(backlog);
    return false;
  }
}

const format = (event: string, data: unknown, id?: number): string =>
  `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

function textOf(data: unknown): string | undefined {
  const { text } = data as { text?: unknown };
  return typeof text === 'string' ? text : undefined;
}
