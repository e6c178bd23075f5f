/** The suite that the chat models of LangChain for Anthropic and OpenAI must pass, unmodified. */
import { ChatAnthropic } from '@langchain/anthropic';
import { AIMessage, type BaseMessage, HumanMessage, SystemMessage } from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import type { Test } from 'tap';
import {
  type ClientAddress,
  type ClientTarget,
  converse,
  instructions,
  type Sends,
  type Turn,
} from './conversation.ts';

/** The chat models, by their names in the tests. */
export function langchainModels({
  url,
  token,
}: ClientAddress): Record<string, ChatAnthropic | ChatOpenAI> {
  const fields = { model: 'berth/default', apiKey: token };
  const ofOpenAi = { ...fields, configuration: { baseURL: `${url}/v1` } };
  return {
    'ChatAnthropic of LangChain': new ChatAnthropic({ ...fields, anthropicApiUrl: url }),
    'ChatOpenAI of LangChain': new ChatOpenAI(ofOpenAi),
    'ChatOpenAI of LangChain with responses': new ChatOpenAI({
      ...ofOpenAi,
      useResponsesApi: true,
    }),
  };
}

export function langchainSends(t: Test, name: string, chat: ChatAnthropic | ChatOpenAI): Sends {
  const messagesOf = (history: readonly Turn[]): BaseMessage[] => [
    new SystemMessage(instructions),
    ...history.map(toMessage),
  ];
  return {
    name,
    whole: async (history) => {
      const answer = await chat.invoke(messagesOf(history));
      t.ok(Number(answer.usage_metadata?.output_tokens) > 0);
      return answer.text;
    },
    streamed: async (history) => {
      const pieces: string[] = [];
      for await (const { text } of await chat.stream(messagesOf(history))) {
        if (text !== '') pieces.push(text);
      }
      return pieces;
    },
  };
}

export async function langchainSuite(t: Test, target: ClientTarget): Promise<void> {
  for (const [name, chat] of Object.entries(langchainModels(target))) {
    await t.test(`${name} has a conversation, whole and streamed`, async (t) => {
      await converse(t, target, name, langchainSends(t, name, chat));
    });

    await t.test(`${name} reports a refusal, and does not repeat the request`, async (t) => {
      const tool = { type: 'function' as const, function: { name: 'f', parameters: {} } };
      const bound = chat.bindTools([tool]) as { invoke: (text: string) => Promise<unknown> };
      await t.rejects(bound.invoke('x'), { message: /tools of the client/ });
    });
  }
}

function toMessage({ role, content }: Turn): BaseMessage {
  return role === 'user' ? new HumanMessage(content) : new AIMessage(content);
}
