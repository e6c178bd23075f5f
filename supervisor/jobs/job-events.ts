/**
 * Records the history of one run of a job: its states, its session, its tools and its text.
 * Invariants: events are stored in batches, the text in few pieces. What one run stores is bounded. A store that cannot
 * be written costs events, and never the run.
 */
import type { TurnEvent } from '../prompts/turn.ts';
import type { JobState } from './job.ts';
import type { JobEvent, JobStore } from './job-store.ts';

/** Milliseconds between batches. */
const pause = 1_000;
/** Characters: of one event of text, of all text of a run, and of the input of a tool. */
const longestText = 4_096;
const mostText = 256 * 1_024;
const longestInput = 2_048;
const mostBuffered = 100;

type NewEvent = Omit<JobEvent, 'id'>;

/** The event of a state that no run has brought about. */
export function stateEvent(state: JobState, at: number): NewEvent {
  return { at, event: 'state', data: { state } };
}

export class JobEvents {
  readonly #store: Pick<JobStore, 'appendEvents'>;
  readonly #id: string;
  readonly #now: () => number;
  #buffer: NewEvent[] = [];
  #text = '';
  #textLeft = mostText;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #batches = 0;

  constructor(store: Pick<JobStore, 'appendEvents'>, id: string, now: () => number) {
    this.#store = store;
    this.#id = id;
    this.#now = now;
  }

  /** Notes an event of the turn; it is stored soon. */
  note(turn: TurnEvent): void {
    if (turn.event === 'text') {
      this.#addText(turn.data.text);
    } else if (turn.event !== 'queued') {
      this.add(turn.event, turn.event === 'tool' ? shortened(turn.data) : turn.data);
    }
    this.#timer ??= setTimeout(() => void this.flush(), pause);
  }

  /** Adds an event, which is stored with the next batch. */
  add(event: string, data: unknown): void {
    this.#endText();
    this.#push(event, data);
  }

  #push(event: string, data: unknown): void {
    this.#buffer.push({ at: this.#now(), event, data });
    if (this.#buffer.length >= mostBuffered) void this.flush();
  }

  /** Stores what is there; resolves when it is stored, or could not be stored. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#endText();
    const events = this.#buffer;
    this.#buffer = [];
    if (events.length > 0) {
      const write = (): Promise<void> => this.#store.appendEvents(this.#id, events);
      // A batch without a batch before it goes to the store at once: the event of a cancel follows.
      const writing = this.#batches++ === 0 ? write() : this.#writing.then(write);
      this.#writing = writing
        .catch(() => undefined)
        .finally(() => {
          this.#batches -= 1;
        });
    }
    return this.#writing;
  }

  #addText(text: string): void {
    const part = text.slice(0, this.#textLeft);
    this.#textLeft -= part.length;
    this.#text += part;
    if (this.#text.length >= longestText) this.#endText();
  }

  #endText(): void {
    if (this.#text === '') return;
    const text = this.#text;
    this.#text = '';
    this.#push('text', { text });
  }
}

function shortened(data: { id: string; name: string; input: unknown }): unknown {
  const isLong = JSON.stringify(data.input ?? null).length > longestInput;
  return isLong ? { ...data, input: null, input_omitted: true } : data;
}
