/** One prompt over HTTP, as a client sends it: every answer that comes is kept, also a second one. */
import type { Agent } from 'undici';

export interface SentPrompt {
  agent: Agent;
  url: string;
  token: string;
  body: unknown;
  traceId: string;
  events: boolean;
  signal?: AbortSignal;
}

export interface Received {
  /** Answers and errors, each with its fields; one is right. */
  // biome-ignore lint/suspicious/noExplicitAny: answers are matched, not computed with.
  finals: any[];
  /** True if the client went away before the end. */
  left: boolean;
  /** What broke the connection, if that was not the client. */
  broken: string | undefined;
}

export async function sendPrompt(sent: SentPrompt): Promise<Received> {
  const { agent, url, token, body, traceId, events, signal } = sent;
  try {
    const response = await agent.request({
      origin: url,
      path: '/v1/prompts',
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        traceparent: `00-${traceId}-00f067aa0ba902b7-01`,
        ...(events ? { accept: 'text/event-stream' } : {}),
      },
      body: JSON.stringify(body),
      signal: signal ?? null,
    });
    const text = await response.body.text();
    const isStream = String(response.headers['content-type']).startsWith('text/event-stream');
    return {
      finals: isStream ? finalsOf(text) : [JSON.parse(text)],
      left: false,
      broken: undefined,
    };
  } catch (error) {
    const left = signal?.aborted ?? false;
    return { finals: [], left, broken: left ? undefined : String(error) };
  }
}

/** The final events of a stream; another one after them counts as one too. */
function finalsOf(text: string): unknown[] {
  const blocks = text.split('\n\n').filter((block) => block.startsWith('event: '));
  const first = blocks.findIndex((block) => /^event: (result|error)$/m.test(block));
  return first < 0
    ? []
    : blocks.slice(first).map((block) => JSON.parse(block.split('data: ')[1] ?? ''));
}
