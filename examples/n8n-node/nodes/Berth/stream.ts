/**
 * Reads an answer of berth as server-sent events.
 * Invariant: the answer is the data of the event `result`. A stream that ends without it has failed.
 */
import type { IDataObject } from 'n8n-workflow';
import type { ByteStream } from './request';

export interface StreamEnd {
  event: 'result' | 'error' | 'cut';
  data: IDataObject;
}

/** After these events the next text is another one of the same answer. */
const parting = ['tool', 'recycled', 'retry'];

/** @param onText called with each piece of the answer; texts before and after a tool have a blank line between them */
export async function readStream(
  stream: ByteStream,
  onText: (text: string) => void,
): Promise<StreamEnd> {
  const decoder = new TextDecoder();
  let rest = '';
  let hasText = false;
  let isParted = false;
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      const { event, data } = eventOf(block);
      if (parting.includes(event)) isParted = hasText;
      const text = event === 'text' ? String(data.text ?? '') : '';
      if (text !== '') {
        onText(isParted ? `\n\n${text}` : text);
        hasText = true;
        isParted = false;
      }
      if (event === 'result' || event === 'error') return { event, data };
    }
  }
  return { event: 'cut', data: {} };
}

function eventOf(block: string): { event: string; data: IDataObject } {
  let event = '';
  let data = '';
  for (const line of block.split('\n')) {
    if (line.startsWith('event: ')) event = line.slice('event: '.length);
    if (line.startsWith('data: ')) data += line.slice('data: '.length);
  }
  return { event, data: data === '' ? {} : (JSON.parse(data) as IDataObject) };
}
