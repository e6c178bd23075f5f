/** Reads the content of messages: a text, or a list of parts. */
import { cannotUse } from './field-rules.ts';

export type Json = Readonly<Record<string, unknown>>;

/** @throws BerthError `invalid_request` that names the field */
export function asObject(value: unknown, field: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  throw cannotUse(field, 'it is no object', 'send one');
}

/**
 * @param kinds the types of a part that is text
 * @param separator between the parts
 * @throws BerthError `invalid_request` that names the part
 */
export function textOf(
  content: unknown,
  field: string,
  kinds: readonly string[],
  separator: string,
): string {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) throw cannotUse(field, 'it is no text and no list', 'send a text');
  return content
    .map((part: unknown, index) => textOfPart(part, `${field}.${index}`, kinds))
    .join(separator);
}

function textOfPart(value: unknown, field: string, kinds: readonly string[]): string {
  const { type, text } = asObject(value, field);
  if (!kinds.includes(String(type))) throw cannotUse(field, reasonAgainst(type), 'send text');
  if (typeof text !== 'string') throw cannotUse(`${field}.text`, 'it is no text', 'send a text');
  return text;
}

/** Parts of a history of tools: the libraries keep them in the messages. */
const ofTools = /^(tool_|mcp_tool|server_tool|function_|web_search|code_execution|item_reference)/;

function reasonAgainst(type: unknown): string {
  const named = JSON.stringify(String(type).slice(0, 50));
  return ofTools.test(String(type))
    ? `a part of type ${named} belongs to tools of the client, which the CLI cannot call`
    : `parts of type ${named} are not supported`;
}

/** @throws BerthError `invalid_request` if the text is blank */
export function notBlank(text: string, field: string): string {
  if (text.trim() !== '') return text;
  throw cannotUse(field, 'it is empty', 'send a text');
}

/** Joins instructions; undefined if there are none. */
export function instructionsOf(texts: readonly string[]): string | undefined {
  const present = texts.filter((text) => text.trim() !== '');
  return present.length > 0 ? present.join('\n\n') : undefined;
}
