/**
 * The text of a streamed answer. A turn may have texts before and after tools; the client gets all of them, and the
 * whole is what its next history has as the answer.
 */
import type { TurnEvent } from '../prompts/turn.ts';

/** Gets a streamed answer. */
export interface ReplyStream {
  /** Called with each event of the turn, before its text. */
  alive: () => void;
  text: (delta: string) => void;
}

const separator = '\n\n';

export class StreamedText {
  readonly #stream: ReplyStream;
  #whole = '';
  /** Whether something other than text came since the last text. */
  #parted = false;

  constructor(stream: ReplyStream) {
    this.#stream = stream;
  }

  take(event: TurnEvent): void {
    if (event.event === 'tool' || event.event === 'recycled' || event.event === 'retry') {
      this.#parted = this.#whole !== '';
    }
    if (event.event === 'text' && event.data.text !== '') this.#send(event.data.text);
  }

  /**
   * @param result the last text of the turn, for a turn that had no text before its end
   * @returns all that the client got
   */
  end(result: string): string {
    if (this.#whole === '' && result !== '') this.#send(result);
    return this.#whole;
  }

  #send(text: string): void {
    const delta = this.#parted ? separator + text : text;
    this.#parted = false;
    this.#whole += delta;
    this.#stream.text(delta);
  }
}
