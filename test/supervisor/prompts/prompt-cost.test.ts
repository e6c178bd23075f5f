import t from 'tap';
import { CallsMade, Rates } from '../../../supervisor/prompts/prompt-cost.ts';
import { noUsage } from '../../../supervisor/sessions/session-record.ts';

t.test(
  'the cost of tokens is learned from the turns of the model, and the last turn counts',
  async (t) => {
    const rates = new Rates();
    t.equal(rates.costOf('opus', { ...noUsage, input_tokens: 1 }), undefined);
    rates.learn('opus', {
      usage: { ...noUsage, input_tokens: 500, output_tokens: 100 },
      costUsd: 1,
    });
    t.equal(rates.costOf('opus', { ...noUsage, output_tokens: 20 }), 0.1);
    t.equal(rates.costOf('haiku', { ...noUsage, output_tokens: 20 }), undefined);
    rates.learn('opus', { usage: noUsage, costUsd: 5 });
    rates.learn('opus', { usage: { ...noUsage, input_tokens: 7 }, costUsd: 0 });
    t.equal(
      rates.costOf('opus', { ...noUsage, output_tokens: 20 }),
      0.1,
      'nothing is learned of that',
    );
  },
);

t.test('the usage of calls adds up, with the last report of each call', async (t) => {
  const calls = new CallsMade();
  calls.note({ ...noUsage, input_tokens: 10, cache_read_input_tokens: 5, output_tokens: 1 }, true);
  calls.note({ ...noUsage, output_tokens: 40 }, false);
  calls.note({ ...noUsage, input_tokens: 3, output_tokens: 1 }, true);
  t.equal(calls.count, 2);
  t.strictSame(calls.usage, {
    ...noUsage,
    input_tokens: 13,
    output_tokens: 41,
    cache_read_input_tokens: 5,
  });
});
