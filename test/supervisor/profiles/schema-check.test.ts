/** Schemas of callers, compiled in a thread. */
import t from 'tap';
import { SchemaCheck } from '../../../supervisor/profiles/schema-check.ts';

const patient = { deadline: 60_000 };

/** Its compilation takes the longest for its size. */
const large = (count: number) => ({
  type: 'object',
  anyOf: Array.from({ length: count }, (_, index) => ({ required: [`k${index}`] })),
});

t.test('a schema that the CLI rejects is reported as wrong, with the cause', async (t) => {
  const schemas = new SchemaCheck(patient);
  const a = (schema: object) => ({ type: 'object', properties: { a: schema } });
  t.same(await schemas.check(a({ type: 'string' })), { kind: 'right' });
  t.match(await schemas.check(a({ type: 'txt' })), { kind: 'wrong', cause: /allowed values/ });
  t.match(await schemas.check(a({ kind: 1 })), { kind: 'wrong', cause: /unknown keyword/ });
  t.match(await schemas.check(a({ pattern: '(' })), { kind: 'wrong', cause: /regular expression/ });
});

t.test('requests are answered while a schema is compiled', async (t) => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  t.teardown(() => clearInterval(timer));
  t.same(await new SchemaCheck(patient).check(large(500)), { kind: 'right' });
  t.ok(turns > 20, `the event loop went round ${turns} times`);
});

t.test(
  'a check beyond the deadline is unknown, also for the checks behind the slow check',
  async (t) => {
    const schemas = new SchemaCheck({ deadline: 30 });
    const verdicts = [large(1_500), large(1_501), { type: 'object' }].map((each) =>
      schemas.check(each),
    );
    t.same(await Promise.all(verdicts), Array(3).fill({ kind: 'unknown' }));
  },
);

t.test('a schema that was right is not compiled again', async (t) => {
  const schemas = new SchemaCheck({ deadline: 60_000, idle: 0 });
  t.same(await schemas.check({ type: 'object' }), { kind: 'right' });
  // A thread that compiles can answer in a later turn of the event loop only.
  const known = schemas.check({ type: 'object' }).then(() => 'known');
  const later = new Promise((resolve) => setImmediate(resolve, 'compiled'));
  t.equal(await Promise.race([known, later]), 'known');
});
