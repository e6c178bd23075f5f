/**
 * The parts of an assistant message as the Messages API has them: blocks, deltas, ids and usage.
 */
import type { MessageBody } from './request.ts';
import type { Reply } from './script.ts';

const deltasPerAnswer = 8;
const largestDelta = 8 * 1024;

let made = 0;
/** An id that no other answer has, e.g. `msg_standin_<pid>_7`. */
export const newId = (prefix: string) => `${prefix}_standin_${process.pid}_${++made}`;

export type Block =
  | { type: 'text'; text: string }
  | { type: 'tool_use'; id: string; name: string; input: object };

export function blocksOf({ text, tool }: Reply): Block[] {
  const blocks: Block[] = [];
  if (text !== undefined || !tool) blocks.push({ type: 'text', text: text ?? '' });
  if (tool) blocks.push({ type: 'tool_use', id: newId('toolu'), ...tool });
  return blocks;
}

export function deltasOf(block: Block): object[] {
  if (block.type === 'tool_use') {
    return [{ type: 'input_json_delta', partial_json: JSON.stringify(block.input) }];
  }
  const length = Math.ceil(block.text.length / deltasPerAnswer);
  const size = Math.min(Math.max(length, 1), largestDelta);
  const deltas: object[] = [];
  for (let at = 0; at < block.text.length; at += size) {
    deltas.push({ type: 'text_delta', text: block.text.slice(at, at + size) });
  }
  return deltas;
}

export const stopReason = (reply: Reply) => (reply.tool ? 'tool_use' : 'end_turn');

export function emptyMessage(body: MessageBody) {
  return {
    id: newId('msg'),
    type: 'message',
    role: 'assistant',
    model: body.model ?? 'claude-opus-5-5',
    content: [] as Block[],
    stop_reason: null as string | null,
    stop_sequence: null,
  };
}

/** Plausible figures: all but the newest message comes from the cache, once it can. */
export function usageOf(body: MessageBody, reply: Reply) {
  const tokens = (value: unknown) => Math.ceil(JSON.stringify(value ?? '').length / 4);
  const newest = tokens(body.messages?.at(-1));
  const older = Math.max(0, tokens(body) - newest);
  const first = !body.messages?.some((message) => message.role === 'assistant');
  return {
    input_tokens: newest,
    cache_creation_input_tokens: first ? older : 0,
    cache_read_input_tokens: first ? 0 : older,
    output_tokens: tokens(reply.text) + tokens(reply.tool),
    service_tier: 'standard',
  };
}
