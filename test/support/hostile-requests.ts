/**
 * Requests as a hostile caller sends them, for every call that the API describes: what the schema asks
 * for, with parts replaced by what it does not. Made by fast-check, so that a seed gives the same ones.
 */
import fc from 'fast-check';

export interface HostileRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string | undefined;
}

/** Of `/openapi.json`. */
export type Paths = Record<string, Record<string, unknown>>;

type Json = Record<string, unknown>;

const copies = (count: number): Json => ({
  type: 'object',
  properties: Object.fromEntries(
    Array.from({ length: count }, (_, index) => [`p${index}`, { $ref: '#/$defs/a' }]),
  ),
  $defs: {
    a: {
      type: 'object',
      properties: Object.fromEntries(
        Array.from({ length: count }, (_, index) => [`k${index}`, { type: 'string' }]),
      ),
    },
  },
});

const nested = (open: string, close: string, depth: number): unknown =>
  JSON.parse(`${open.repeat(depth)}0${close.repeat(depth)}`);

const schemas = fc.oneof(
  fc.constant({ type: 'object' }),
  fc.integer({ min: 1, max: 1_200 }).map(copies),
  fc
    .integer({ min: 1, max: 1_000 })
    .map((depth) => ({ type: 'object', not: nested('{"not":', '}', depth) })),
  fc.integer({ min: 1, max: 3_000 }).map((count) => ({
    type: 'object',
    enum: Array.from({ length: count }, (_, index) => ({ index })),
  })),
  fc.integer({ min: 1, max: 2_500 }).map((count) => ({
    type: 'object',
    anyOf: Array.from({ length: count }, (_, index) => ({ required: [`k${index}`] })),
  })),
  fc.constant({ type: 'object', properties: { a: { $ref: 'http://127.0.0.1:1/' } } }),
  fc.constant({ type: 'object', properties: { a: { pattern: '^(a+)+$' } } }),
  fc.constant({ type: 'object', $id: '\0', $ref: '#' }),
  fc.dictionary(fc.string(), fc.jsonValue()).map((more) => ({ ...more, type: 'object' })),
);

const text = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.constantFrom('', ' ', '\0', '\ud800', '__proto__', 'constructor', '../..', '/', '-1', '1e999'),
  fc.integer({ min: 1, max: 70_000 }).map((length) => 'x'.repeat(length)),
  fc.integer({ min: 1, max: 20_000 }).map((length) => '('.repeat(length)),
);

const anything = fc.oneof(
  fc.jsonValue(),
  text,
  fc.constantFrom(null, true, -1, 0.5, 1e300, Number.MAX_SAFE_INTEGER, [], {}),
  fc.integer({ min: 1, max: 1_000 }).map((depth) => nested('[', ']', depth)),
  fc.integer({ min: 1, max: 50_000 }).map((length) => Array(length).fill(1)),
);

/** Right or wrong for each field of a prompt. */
const fields: Record<string, fc.Arbitrary<unknown>> = {
  prompt: fc.oneof(fc.constant('hi'), text),
  session_id: fc.oneof(fc.uuid(), text),
  fork: fc.boolean(),
  profile: fc.oneof(fc.constant('wide'), text),
  model: fc.oneof(fc.constantFrom('haiku', 'opus', '--settings=x'), text),
  append_system_prompt: text,
  allowed_tools: fc.oneof(
    fc.integer({ min: 0, max: 5_000 }).map((count) => Array(count).fill('Read')),
    fc.array(fc.oneof(fc.constantFrom('Read', 'Bash(ls\0:*)', 'mcp__x', 'Edit(/**)'), text)),
  ),
  max_turns: fc.oneof(fc.integer(), fc.double()),
  max_budget_usd: fc.double(),
  output_schema: schemas,
  timeout: fc.oneof(fc.constantFrom('5s', '1ms', '999999999999999h'), text),
  heartbeat: fc.oneof(fc.constant('1s'), text),
  on_limit: fc.constantFrom('fail', 'wait', 'x'),
  on_recycle: fc.constantFrom('continue', 'fail', 'x'),
  metadata: fc.oneof(
    fc.dictionary(text, text),
    fc
      .integer({ min: 1, max: 30_000 })
      .map((count) =>
        Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, i % 2])),
      ),
  ),
  reason: text,
};

/** Deeper than any stack; made as text for the same reason. */
const deep = `{"prompt":"hi","output_schema":{"type":"object","a":${'['.repeat(30_000)}${']'.repeat(30_000)}}}`;

/** One field or two that may be wrong, the others left out; or no object at all. */
const bodies = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .subarray(Object.keys(fields), { minLength: 1, maxLength: 2 })
      .chain((names) =>
        fc
          .record(
            Object.fromEntries(
              names.map((name) => [
                name,
                fc.oneof({ weight: 4, arbitrary: fields[name] ?? text }, anything),
              ]),
            ),
          )
          .map((some) => JSON.stringify({ prompt: 'hi', ...some })),
      ),
  },
  { weight: 1, arbitrary: anything.map((value) => JSON.stringify(value)) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('', '{', '\0', '{"prompt":"a","__proto__":{"x":1}}', '[[[[', deep),
  },
);

const header = fc.stringMatching(/^[!-~]{0,40}$/);

const headers = fc.record(
  {
    'content-type': fc.constantFrom('application/json', 'application/json', 'text/plain', 'x'),
    accept: fc.constantFrom('text/event-stream', '*/*', ';'),
    'idempotency-key': fc.oneof(header, fc.constantFrom('"', 'x'.repeat(300))),
    traceparent: header,
  },
  { requiredKeys: [] },
);

const query = fc.oneof(
  { weight: 3, arbitrary: fc.constant('') },
  {
    weight: 1,
    arbitrary: fc
      .dictionary(fc.constantFrom('limit', 'cursor', 'profile', 'x'), fc.string({ unit: 'binary' }))
      .map((pairs) => `?${new URLSearchParams(pairs)}`),
  },
);

/** @param ids of sessions that there are */
export function hostileRequests(
  paths: Paths,
  ids: readonly string[],
): fc.Arbitrary<HostileRequest> {
  const calls = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => ({ path, method: method.toUpperCase() })),
  );
  const id = fc.oneof(fc.constantFrom(...ids), fc.uuid(), text.map(encodable));
  return fc
    .record({
      call: fc.constantFrom(...calls),
      id,
      query,
      headers,
      body: bodies,
      bare: fc.boolean(),
    })
    .map(({ call, id, query, headers, body, bare }) => {
      const { method, path } = call;
      const without = method === 'GET' || (bare && path !== '/v1/prompts');
      return {
        method,
        path: path.replace('{id}', id.slice(0, 300)) + query,
        headers: { 'content-type': 'application/json', ...headers },
        body: without ? undefined : body,
      };
    });
}

function encodable(part: string): string {
  return encodeURIComponent(part.toWellFormed()) || 'x';
}
