/**
 * A stand-in for a chat model behind OpenAI's API (`/v1/chat/completions`), for an agent of another program: it calls the
 * first tool that the agent offers, once, with the given arguments, and then answers with the result of the tool.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { json as readJson } from 'node:stream/consumers';

interface Asked {
  messages: { role: string; content: unknown }[];
  tools?: { function: { name: string; parameters: { properties?: object } } }[];
  stream?: boolean;
}

export interface ChatModel {
  /** The base URL, with `/v1`. */
  url: string;
  /** Oldest first. */
  requests: Asked[];
  close(): Promise<void>;
}

/** @param value of each argument of the tool */
export async function startChatModel(value: string): Promise<ChatModel> {
  const requests: Asked[] = [];
  const server = createServer(async (request, response) => {
    const asked = (await readJson(request)) as Asked;
    requests.push(asked);
    const { messages, tools = [] } = asked;
    const last = messages.at(-1);
    const [tool] = tools;
    const message =
      last?.role === 'tool' || !tool
        ? { role: 'assistant', content: `The tool answered: ${JSON.stringify(last?.content)}` }
        : {
            role: 'assistant',
            content: null,
            tool_calls: [
              {
                ...{ id: 'call_1', type: 'function' },
                function: {
                  name: tool.function.name,
                  arguments: JSON.stringify(
                    Object.fromEntries(
                      Object.keys(tool.function.parameters.properties ?? {}).map((key) => [
                        key,
                        value,
                      ]),
                    ),
                  ),
                },
              },
            ],
          };
    const finish_reason = message.content === null ? 'tool_calls' : 'stop';
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify({
        ...{ id: 'chatcmpl-1', object: 'chat.completion', created: 1, model: 'stand-in' },
        choices: [{ index: 0, message, finish_reason }],
        usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
      }),
    );
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
