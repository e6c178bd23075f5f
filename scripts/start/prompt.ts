/** Sends a prompt to the running server, and formats the curl line for the user. */
import type { RunningServer } from './parts.ts';

export interface Reply {
  status: number;
  body: unknown;
}

export async function ask(
  server: RunningServer,
  prompt: string,
  signal: AbortSignal,
): Promise<Reply> {
  const response = await fetch(`${server.url}/v1/prompts`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ prompt }),
    signal,
  });
  return { status: response.status, body: await response.json() };
}

export function curlLine({ url, token }: RunningServer): string {
  return `curl -sS ${url}/v1/prompts \\
  -H 'Authorization: Bearer ${token}' \\
  -H 'Content-Type: application/json' \\
  -d '{"prompt": "Which skills do you have?"}' -w '\\n'`;
}
