import t from 'tap';
import { traceIdOf, validTraceparent } from '../../../supervisor/prompts/prompt.ts';

const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
const right = `00-${trace}-00f067aa0ba902b7-01`;

t.test('a valid trace context is taken as it is, and a later version with its rest', async (t) => {
  for (const header of [right, `cc-${trace}-00f067aa0ba902b7-01-what-comes-later`]) {
    t.equal(validTraceparent(header), header);
    t.equal(traceIdOf(header), trace);
  }
});

const wrong = [
  undefined,
  '',
  `${right}-more`,
  `ff-${trace}-00f067aa0ba902b7-01`,
  `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
  `00-${trace}-${'0'.repeat(16)}-01`,
  `00-${trace.toUpperCase()}-00f067aa0ba902b7-01`,
  `00-${trace.slice(1)}-00f067aa0ba902b7-01`,
  `${right}, ${right}`,
  ` ${right}`,
  `${right}\n`,
  `cc-${trace}-00f067aa0ba902b7-01-${'x'.repeat(600)}`,
];

t.test('an invalid traceparent is ignored', async (t) => {
  for (const header of wrong) t.equal(validTraceparent(header), undefined, String(header));
});
