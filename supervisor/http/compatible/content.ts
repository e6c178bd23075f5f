/** Reads the content of messages: a text, or a list of parts with texts and files. */
import type { Attachment } from '../../attachments/attachment.ts';
import { cannotUse } from './field-rules.ts';

export type Json = Readonly<Record<string, unknown>>;

/** @throws BerthError `invalid_request` that names the field */
export function asObject(value: unknown, field: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  throw cannotUse(field, 'it is no object', 'send one');
}

/** A value of a request in a message. Only a text is shown: an object of a client may have a `toString` of its own. */
export function nameOf(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 50)) : typeof value;
}

/** What a content has. */
export interface Content {
  text: string;
  attachments?: readonly Attachment[];
}

/** How an API writes the parts of a content. */
export interface Parts {
  /** The types of a part that is text. */
  texts: readonly string[];
  /** Reads a part with a file, by its type. */
  files?: Readonly<Record<string, (part: Json, field: string) => SentFile | readonly SentFile[]>>;
}

/** A file of a part: a text is put into the prompt itself. */
export type SentFile = Attachment | string;

/**
 * Reads a message of the user.
 * @throws BerthError `invalid_request` that names the part
 */
export function contentOf(content: unknown, field: string, parts: Parts): Content {
  if (typeof content === 'string') return { text: content };
  const read = listOf(content, field).flatMap((value, index): SentFile | readonly SentFile[] => {
    const at = `${field}.${index}`;
    const part = asObject(value, at);
    const file = own(parts.files, part.type);
    return file ? file(part, at) : textOfPart(part, at, parts.texts);
  });
  const attachments = read.filter((each) => typeof each !== 'string');
  const text = read.filter((each) => typeof each === 'string').join('\n\n');
  return attachments.length > 0 ? { text, attachments } : { text };
}

/**
 * Reads instructions or an answer, which have no files.
 * @throws BerthError `invalid_request` that names the part
 */
export function textOf(
  content: unknown,
  field: string,
  texts: readonly string[],
  separator: string,
): string {
  if (typeof content === 'string') return content;
  return listOf(content, field)
    .map((value, index) => {
      const at = `${field}.${index}`;
      return textOfPart(asObject(value, at), at, texts);
    })
    .join(separator);
}

function listOf(content: unknown, field: string): readonly unknown[] {
  if (Array.isArray(content)) return content;
  throw cannotUse(field, 'it is no text and no list', 'send a text');
}

function textOfPart(part: Json, field: string, texts: readonly string[]): string {
  const { type } = part;
  if (typeof type !== 'string' || !texts.includes(type))
    throw cannotUse(field, reasonAgainst(type), 'send text');
  // A part that is a refusal names its text so.
  const key = type === 'refusal' ? type : 'text';
  const text = part[key];
  if (typeof text !== 'string') throw cannotUse(`${field}.${key}`, 'it is no text', 'send a text');
  return text;
}

function own<T>(table: Readonly<Record<string, T>> | undefined, key: unknown): T | undefined {
  return table && typeof key === 'string' && Object.hasOwn(table, key) ? table[key] : undefined;
}

/** Parts of a history of tools: the libraries keep them in the messages. */
const ofTools = /^(tool_|mcp_tool|server_tool|function_|web_search|code_execution|item_reference)/;

function reasonAgainst(type: unknown): string {
  const named = nameOf(type);
  return typeof type === 'string' && ofTools.test(type)
    ? `a part of type ${named} belongs to tools of the client, which the CLI cannot call`
    : `parts of type ${named} are not supported`;
}

/**
 * A message with only files is accepted: the message beside it may have the text. `splitHistory` checks both together.
 * @throws BerthError `invalid_request` if there is no text and no file
 */
export function notEmpty(content: Content, field: string): Content {
  if (content.text.trim() !== '' || content.attachments) return content;
  throw cannotUse(field, 'it has no text', 'send a text');
}

/** Joins instructions; undefined if there are none. */
export function instructionsOf(texts: readonly string[]): string | undefined {
  const present = texts.filter((text) => text.trim() !== '');
  return present.length > 0 ? present.join('\n\n') : undefined;
}
