/**
 * What a call of the CLI holds, as read from real requests of 2.1.330.
 * Everything here only reads: the same request always gives the same answer.
 *
 * A message's blocks mix what a person typed with what the CLI adds around it: reminders before
 * the prompt, local commands, the body of a skill after its command. Prompts that got no answer
 * (an API error, an interruption) stay in the same user message, before the newest one.
 */
import type { IncomingHttpHeaders } from 'node:http';

export interface ContentBlock {
  type: string;
  text?: string;
  id?: string;
  name?: string;
  input?: unknown;
  tool_use_id?: string;
  content?: unknown;
}

export interface Message {
  /** The CLI also sends `system` messages, in the middle of a conversation. */
  role: 'user' | 'assistant' | 'system';
  content: string | ContentBlock[];
}

export interface MessageBody {
  model?: string;
  stream?: boolean;
  system?: string | ContentBlock[];
  messages?: Message[];
  tools?: { name: string; description?: string; input_schema?: unknown }[];
  output_config?: { format?: { type: string; schema?: unknown } };
}

export interface RecordedRequest {
  readonly method: string;
  /** With the query, e.g. `/v1/messages?beta=true`. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** The JSON body; undefined when there was none, or no object. */
  readonly body: MessageBody | undefined;
  /** Milliseconds since the epoch. */
  readonly received: number;
  /** `abandoned`: the connection ended before the answer did. */
  outcome: 'pending' | 'answered' | 'abandoned';
}

/** A JSON object, or undefined. */
export function parseBody(text: string): MessageBody | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Where the person's newest text stands, or undefined when there is none. */
export interface Prompt {
  text: string;
  /** Index of its message: what follows belongs to the same turn. */
  index: number;
}

export function findPrompt(body: MessageBody | undefined): Prompt | undefined {
  const messages = body?.messages ?? [];
  for (let index = messages.length - 1; index >= 0; index--) {
    const message = messages[index];
    if (message?.role !== 'user') continue;
    const text = typedTexts(message).at(-1);
    if (text !== undefined) return { text, index };
  }
  return undefined;
}

/**
 * What the person typed last; a skill or command as it was typed, e.g. `/changelog v2`. Of a prompt
 * in several blocks it is the last block: nothing in a request tells them from several prompts.
 */
export function promptText(request: RecordedRequest): string {
  return findPrompt(request.body)?.text ?? '';
}

/**
 * All the instructions that the model got: the system prompt, system messages and reminders, in
 * their order. CLAUDE.md and the list of skills are in it.
 */
export function systemText(request: RecordedRequest): string {
  const texts = blocksOf(request.body?.system).map(textOf);
  for (const message of request.body?.messages ?? []) {
    if (message.role === 'assistant') continue;
    const all = blocksOf(message.content).map(textOf);
    texts.push(...(message.role === 'system' ? all : all.filter(isReminder)));
  }
  return texts.filter((text) => text !== '').join('\n\n');
}

/** Whether this is a turn of a conversation, not a call of the CLI on its own account. */
export function isConversation(body: MessageBody | undefined): boolean {
  // Titles, page summaries and probes bring no system message; a turn always describes its
  // environment in one, or in a reminder for models that know no system messages.
  const messages = body?.messages ?? [];
  const format = body?.output_config?.format;
  if (format !== undefined && !body?.tools?.length) return false;
  return messages.some(
    (message) =>
      message.role === 'system' ||
      blocksOf(message.content).some((block) => isReminder(textOf(block))),
  );
}

export function blocksOf(content: string | ContentBlock[] | undefined): ContentBlock[] {
  if (content === undefined) return [];
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content;
}

const isReminder = (text: string) => wrappedIn(text, 'system-reminder');

/** What the CLI writes on its own around a local command or a task. */
const ownElements = [
  'system-reminder',
  'local-command-caveat',
  'local-command-stdout',
  'local-command-stderr',
  'command-name',
  'task-notification',
];

function typedTexts(message: Message): string[] {
  const typed: string[] = [];
  const texts = blocksOf(message.content)
    .filter((block) => block.type === 'text')
    .map((block) => textOf(block).trim());
  for (let index = 0; index < texts.length; index++) {
    const text = texts[index] ?? '';
    if (text.startsWith('<command-message>')) {
      typed.push([element(text, 'command-name'), element(text, 'command-args')].join(' ').trim());
      index++; // The next block is what the command stands for.
    } else if (text !== '' && !isOwn(text)) {
      typed.push(text);
    }
  }
  return typed;
}

function isOwn(text: string): boolean {
  return (
    text.startsWith('[Request interrupted by user') ||
    text.startsWith('Base directory for this skill:') ||
    ownElements.some((name) => text.startsWith(`<${name}>`) && text.includes(`</${name}>`))
  );
}

function wrappedIn(text: string, name: string): boolean {
  const trimmed = text.trim();
  return trimmed.startsWith(`<${name}>`) && trimmed.endsWith(`</${name}>`);
}

function element(text: string, name: string): string {
  return new RegExp(`<${name}>([\\s\\S]*?)</${name}>`).exec(text)?.[1] ?? '';
}

function textOf(block: ContentBlock): string {
  return block.type === 'text' ? (block.text ?? '') : '';
}
