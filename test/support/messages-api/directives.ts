/**
 * The directives of a prompt, read into data. What they do is in script.ts; what a person may
 * write is described at the top of messages-api.ts.
 */
export type Directive =
  | { kind: 'say'; text: string }
  | { kind: 'big'; bytes: number }
  | { kind: 'echo' }
  | { kind: 'slow'; milliseconds: number }
  | { kind: 'tool'; name: string; input: object }
  | { kind: 'tools' }
  | {
      kind: 'status';
      status: number;
      times: number;
      headers: Record<string, string>;
      /** What the error says; the stand-in's own words by default. */
      message: string | undefined;
      source: string;
    }
  | { kind: 'headers'; headers: Record<string, string> }
  | { kind: 'error'; type: string; times: number; source: string }
  | { kind: 'hang'; at: 'headers' | 'stream' }
  | { kind: 'drop' }
  | { kind: 'unknown'; source: string };

/** All directives of a text in their order; one that cannot be understood is `unknown`. */
export function parseDirectives(text: string): Directive[] {
  const directives: Directive[] = [];
  let from = 0;
  for (;;) {
    const open = text.indexOf('[[', from);
    const close = open < 0 ? -1 : closingAt(text, open + 2);
    if (close < 0) return directives;
    directives.push(parseDirective(text.slice(open + 2, close).trim()));
    from = close + 2;
  }
}

/** Where the `]]` stands that ends a directive; one inside a JSON string or array does not. */
function closingAt(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const character = text[at];
    if (depth > 0 && character === '"') at = stringEnd(text, at);
    else if (character === '{') depth++;
    else if (character === '}') depth--;
    else if (depth <= 0 && text.startsWith(']]', at)) return at;
  }
  // Braces that do not pair up belong to plain text, as in `[[say {]]`.
  return text.indexOf(']]', from);
}

function stringEnd(text: string, open: number): number {
  for (let at = open + 1; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '"') return at;
  }
  return text.length;
}

function parseDirective(source: string): Directive {
  const match = (pattern: RegExp) => pattern.exec(source);
  const say = match(/^say\s([\s\S]*)$/);
  if (say) return { kind: 'say', text: say[1] ?? '' };
  const big = match(/^big (\d+)$/);
  if (big) return { kind: 'big', bytes: Number(big[1]) };
  const slow = match(/^slow (\d+)$/);
  if (slow) return { kind: 'slow', milliseconds: Number(slow[1]) };
  const tool = match(/^tool (\S+) (\{[\s\S]*\})$/);
  const input = tool && parseObject(tool[2] ?? '');
  if (tool && input) return { kind: 'tool', name: tool[1] ?? '', input };
  const status = match(
    /^status (\d{3})(?: x(\d+))?(?: #\S+)?(?: (\{[\s\S]*\}))?(?: say ([\s\S]*))?$/,
  );
  const headers = status && parseObject(status[3] ?? '{}');
  if (status && headers) {
    return {
      kind: 'status',
      status: Number(status[1]),
      times: timesOf(status[2]),
      headers: headers as Record<string, string>,
      message: status[4],
      source,
    };
  }
  const more = match(/^headers (\{[\s\S]*\})$/);
  const added = more && parseObject(more[1] ?? '');
  if (added) return { kind: 'headers', headers: added as Record<string, string> };
  const error = match(/^error (\w+)(?: x(\d+))?(?: #\S+)?$/);
  if (error) {
    return { kind: 'error', type: error[1] ?? '', times: timesOf(error[2]), source };
  }
  if (source === 'hang headers') return { kind: 'hang', at: 'headers' };
  if (source === 'hang stream') return { kind: 'hang', at: 'stream' };
  if (source === 'tools endless') return { kind: 'tools' };
  if (source === 'echo system') return { kind: 'echo' };
  if (source === 'drop') return { kind: 'drop' };
  return { kind: 'unknown', source };
}

function timesOf(digits: string | undefined): number {
  return digits === undefined ? Number.POSITIVE_INFINITY : Number(digits);
}

function parseObject(json: string): object | undefined {
  try {
    return JSON.parse(json) as object;
  } catch {
    return undefined;
  }
}
