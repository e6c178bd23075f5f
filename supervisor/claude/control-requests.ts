/** The control requests to a CLI that wait for their acknowledgement. */
import { randomUUID } from 'node:crypto';
import type { BerthError } from '../../shared/errors.ts';
import { refusedError } from './process-errors.ts';

export class ControlRequests {
  readonly #waiting = new Map<
    string,
    { resolve: (response: unknown) => void; reject: (error: BerthError) => void }
  >();

  /** @returns the id of a new request, and its response */
  begin(): { id: string; response: Promise<unknown> } {
    const id = randomUUID();
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, { resolve, reject });
    return { id, response: promise };
  }

  /** The CLI has acknowledged a request, or refused it with an error. */
  settle(id: string, error: string | undefined, response: unknown): void {
    const request = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) request?.resolve(response);
    else request?.reject(refusedError(error));
  }

  failAll(error: BerthError): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
