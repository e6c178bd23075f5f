/** Reads server-sent events as a client does, from the text of the format. */
export interface StreamEvent {
  event: string;
  /** biome-ignore lint/suspicious/noExplicitAny: events are matched, not computed with. */
  data: any;
}

/**
 * The events of a response as they arrive.
 * @throws Error if the response is no stream of events
 */
export async function* readEvents(response: Response): AsyncGenerator<StreamEvent, void, void> {
  if (!response.headers.get('content-type')?.startsWith('text/event-stream') || !response.body) {
    throw new Error(`no stream of events: ${response.status} ${await response.text()}`);
  }
  let parts: string[] = [];
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    // A large event comes in many chunks, and its end may lie on the border of two.
    const last = parts.pop() ?? '';
    if (!chunk.includes('\n') || !(last.slice(-1) + chunk).includes('\n\n')) {
      parts.push(last, chunk);
      continue;
    }
    const blocks = [...parts, last, chunk].join('').split('\n\n');
    parts = [blocks.pop() ?? ''];
    for (const block of blocks) {
      const event = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (event !== undefined && data !== undefined) yield { event, data: JSON.parse(data) };
    }
  }
}

/** Reads up to the first event of that name; the rest can be read on. */
export async function upTo(events: AsyncIterator<StreamEvent>, name: string): Promise<StreamEvent> {
  for (;;) {
    const { value, done } = await events.next();
    if (done) throw new Error(`the stream has ended without ${name}`);
    if (value.event === name) return value;
  }
}

/** All events of a stream that ends. */
export async function collect(events: AsyncIterable<StreamEvent>): Promise<StreamEvent[]> {
  const all: StreamEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}
