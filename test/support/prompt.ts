/** Sends prompts to a running supervisor and reads its answers and events. */
import { readEvents, type StreamEvent } from './read-events.ts';

export interface PromptTarget {
  /** `http://127.0.0.1:1234` */
  url: string;
  token: string;
}

export interface JsonReply {
  status: number;
  contentType: string;
  // What an endpoint answers is what its test asserts.
  body: Record<string, unknown>;
}

export async function sendPrompt(
  { url, token }: PromptTarget,
  body: Record<string, unknown>,
): Promise<JsonReply> {
  const response = await fetch(`${url}/v1/prompts`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return {
    status: response.status,
    contentType: response.headers.get('content-type') ?? '',
    body: (await response.json()) as Record<string, unknown>,
  };
}

/** All events of a streamed answer, in order, each as it arrives. */
export async function* streamPrompt(
  { url, token }: PromptTarget,
  body: Record<string, unknown>,
): AsyncGenerator<StreamEvent> {
  const response = await fetch(`${url}/v1/prompts`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      accept: 'text/event-stream',
    },
    body: JSON.stringify(body),
  });
  yield* readEvents(response);
}
