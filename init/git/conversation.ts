/**
 * The HTTP client that isomorphic-git gets for one attempt at the git server. It stands between the
 * library and the transport, and does three things that the library does not:
 * - it keeps the advertised refs, so that a listing and the fetch after it cost one discovery request;
 * - it takes the pack out of the answer to a fetch (side-band.ts), for the reader in pack.ts;
 * - it remembers what broke a body: the library ends some reads as if the body were whole.
 * Invariants: each attempt has a conversation of its own, so nothing of a failed attempt counts later.
 */
import type { GitHttpRequest, GitHttpResponse, HttpClient } from 'isomorphic-git';
import { requestThinPack, withoutPack } from './side-band.ts';
import { collect, type GitRequest, type Transport } from './transport.ts';

/** The answer to a discovery request. */
export interface Refs {
  url: string;
  answer: Omit<GitHttpResponse, 'body'>;
  text: Buffer;
}

/** The reader of a pack. */
export interface PackSink {
  /** Takes the next bytes of the pack; more bytes come when the promise resolves. */
  take: (part: Buffer) => Promise<void>;
  /** Whether the pack may hold deltas against objects that the git directory already has. */
  thin: boolean;
}

/** Some 200,000 refs. */
const mostRefsBytes = 16 * 1024 * 1024;

export class Conversation {
  readonly #transport: Transport;
  #refs: Refs | undefined;
  #failure: unknown;
  #retryAfter: number | undefined;

  /** @param refs recently advertised refs, used instead of a discovery request */
  constructor(transport: Transport, refs?: Refs) {
    this.#transport = transport;
    this.#refs = refs;
  }

  /** The refs that the server advertised; undefined before the answer. */
  get refs(): Refs | undefined {
    return this.#refs;
  }

  /** The cause of a broken body. */
  get failure(): unknown {
    return this.#failure;
  }

  /** The milliseconds of the `Retry-After` in the server's last answer. */
  get retryAfter(): number | undefined {
    return this.#retryAfter;
  }

  /** @throws the cause of a broken body */
  assertWhole(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /**
   * For one call of the library. @param pack receives the pack; without `pack` the library gets the
   * pack
   */
  client(pack?: PackSink): HttpClient {
    return {
      request: (wanted) =>
        wanted.method === 'POST' ? this.#post(wanted, pack) : this.#discover(wanted),
    };
  }

  async #discover(wanted: GitHttpRequest): Promise<GitHttpResponse> {
    if (this.#refs?.url !== wanted.url) {
      const { body, ...answer } = await this.#send(wanted);
      if (answer.statusCode !== 200) return { ...answer, body };
      this.#refs = { url: wanted.url, answer, text: await collect(body, mostRefsBytes) };
    }
    const { answer, text } = this.#refs;
    return { ...answer, body: this.#watched([text]) };
  }

  async #post(wanted: GitHttpRequest, pack: PackSink | undefined): Promise<GitHttpResponse> {
    if (!pack) return this.#send(wanted);
    const sent = await collect(wanted.body ?? []);
    const thin = pack.thin && this.#refs?.text.includes(' thin-pack ');
    const answer = await this.#send({ ...wanted, body: [thin ? requestThinPack(sent) : sent] });
    return { ...answer, body: this.#watched(withoutPack(answer.body, pack.take)) };
  }

  async #send(wanted: GitRequest) {
    const answer = await this.#transport.request(wanted);
    const seconds = Number(answer.headers?.['retry-after']);
    this.#retryAfter = seconds > 0 ? seconds * 1_000 : undefined;
    return { ...answer, body: this.#watched(answer.body) };
  }

  async *#watched(
    body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void> {
    try {
      yield* body;
    } catch (error) {
      this.#failure ??= error;
      throw error;
    }
  }
}
