/** A stand-in for Telegram's API with one person, who opens each link of berth and approves the call that the page shows. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json as readJson } from 'node:stream/consumers';

export const chatToken = 'telegram-token-of-the-test';

export interface Chat {
  url: string;
  /** The texts of the messages, oldest first. */
  messages: string[];
  /** The pages that the person has seen before and after each decision. */
  pages: { before: string; after: string }[];
  /** What went wrong while the person decided. */
  failures: unknown[];
  close(): Promise<void>;
}

export async function startChat(): Promise<Chat> {
  const messages: string[] = [];
  const pages: Chat['pages'] = [];
  const failures: unknown[] = [];
  const decide = async (link: string): Promise<void> => {
    const before = await (await fetch(link)).text();
    const body = new URLSearchParams({ decision: 'allow' });
    const after = await (await fetch(link, { method: 'POST', body })).text();
    pages.push({ before, after });
  };
  const server = createServer(async (request, response) => {
    const { text = '' } = (await readJson(request)) as { text?: string };
    const isSent = request.url === `/bot${chatToken}/sendMessage`;
    const answer = isSent ? { ok: true, result: { message_id: messages.length + 1 } } : {};
    if (isSent) messages.push(text);
    response.writeHead(isSent ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer));
    const [link] = /http\S+\/approvals\/\S+/.exec(text) ?? [];
    if (link) decide(link).catch((error: unknown) => failures.push(error));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ...{ messages, pages, failures },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
