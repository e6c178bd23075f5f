/** Which schemas of a caller are too much work to compile; each bound from both of its sides. */
import t from 'tap';
import { tooCostly } from '../../../supervisor/profiles/schema-cost.ts';

type Schema = Record<string, unknown>;

const repeat = <T>(count: number, make: (index: number) => T): Record<string, T> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, make(index)]));

/** So many references to one definition of as many properties: the work grows with their product. */
const copies = (count: number): Schema => ({
  type: 'object',
  properties: repeat(count, () => ({ $ref: '#/$defs/all' })),
  $defs: { all: { type: 'object', properties: repeat(count, () => ({ type: 'string' })) } },
});

/** Each definition refers twice to the one before: written out they would double at each step. */
const doubling = (count: number): Schema => ({
  type: 'object',
  properties: { root: { $ref: `#/$defs/k${count - 1}` } },
  $defs: repeat(count, (index) => {
    const before = { $ref: `#/$defs/k${index - 1}` };
    return index === 0 ? {} : { type: 'object', properties: { one: before, two: before } };
  }),
});

const nested = (depth: number): Schema => {
  let schema: Schema = {};
  for (let level = 1; level < depth; level++) schema = { not: schema };
  return schema;
};

t.test('a schema of a caller is refused for the work that it makes, not for its bytes', (t) => {
  const message = /values when each "\$ref" is replaced/;
  t.match(tooCostly(copies(250))?.cause, message, '13 KB that took 27 s');
  t.match(tooCostly(copies(1_100))?.cause, message, '59 KB that took all memory');
  t.equal(tooCostly(copies(50)), undefined);
  t.equal(
    tooCostly({ type: 'object', properties: repeat(2_500, () => ({ type: 'string' })) }),
    undefined,
    '64 KB without references',
  );
  t.end();
});

t.test('definitions that refer to each other or to themselves are compiled once each', (t) => {
  t.equal(tooCostly(doubling(200)), undefined);
  const tree = { type: 'object', properties: { children: { items: { $ref: '#' } } } };
  t.equal(tooCostly(tree), undefined);
  // Parts within parts, each of which has a reference and so is compiled by itself.
  const leaf = { a: { $ref: '#' }, b: { enum: Array.from({ length: 500 }, (_, index) => index) } };
  let part: Schema = { properties: leaf };
  for (let level = 0; level < 40; level++) part = { properties: { p: part } };
  const pointers = Array.from({ length: 40 }, (_, level) => `#${'/properties/p'.repeat(level)}`);
  const each = { ...part, anyOf: pointers.map(($ref) => ({ $ref })) };
  t.match(tooCostly(each)?.cause, /values/);
  t.end();
});

t.test('a schema that is nested deeper than anybody needs is refused, however deep', (t) => {
  t.equal(tooCostly(nested(100)), undefined);
  t.match(tooCostly(nested(101))?.cause, /nested more than 100 deep/);
  t.match(tooCostly(nested(100_000))?.cause, /nested more than 100 deep/);
  t.end();
});

t.test('a reference has one spelling, so that no definition is compiled under many names', (t) => {
  const referring = ($ref: string): Schema => ({
    properties: { a: { $ref } },
    $defs: { 'a/~': {} },
  });
  t.equal(tooCostly(referring('#/$defs/a~1~0')), undefined);
  for (const other of ['#/%24defs/a~1~0', '#/$defs/none', '#a', 'http://x/y#', '']) {
    t.match(tooCostly(referring(other))?.cause, /points to no part of the schema/, other);
  }
  t.match(tooCostly({ $defs: { a: { $id: 'http://x/y' } } })?.cause, /"\$id" below its top/);
  t.equal(tooCostly({ $id: 'http://x/y', properties: { $id: { type: 'string' } } }), undefined);
  t.end();
});
