/** The official MCP client, connected to a server of the tests. It disconnects with the test. */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import type { Test } from 'tap';
import { token } from './api-server.ts';

export interface McpClientOptions {
  token?: string;
  /** A version without `initialize` is asked for with `pin`; the default is the newest with `initialize`. */
  version?: string;
  headers?: Record<string, string>;
}

export async function connectMcp(t: Test, url: string, options: McpClientOptions = {}) {
  const { version } = options;
  const isModern = version !== undefined && version >= '2026';
  const client = new Client(
    { name: 'berth-tests', version: '1.0.0' },
    {
      ...(isModern ? { versionNegotiation: { mode: { pin: version } } } : {}),
      ...(version === undefined || isModern ? {} : { supportedProtocolVersions: [version] }),
    },
  );
  const headers = { authorization: `Bearer ${options.token ?? token}`, ...options.headers };
  await client.connect(
    new StreamableHTTPClientTransport(new URL('/mcp', url), { requestInit: { headers } }),
  );
  t.teardown(() => client.close());
  return client;
}

/** A message as any program could send it, and the answer as JSON, or the last event of a stream. */
export async function sendMcp(url: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(new URL('/mcp', url), {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      ...headers,
    },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  const text = await response.text();
  const last = text.split('\n').findLast((line) => line.startsWith('data: '));
  const json = last?.slice('data: '.length) ?? text;
  const { status } = response;
  return { status, headers: response.headers, body: json === '' ? undefined : JSON.parse(json) };
}
