import t from 'tap';
import { readResult } from '../../../supervisor/claude/turn-result.ts';
import { Rates } from '../../../supervisor/prompts/prompt-cost.ts';

const line = {
  ...{ subtype: 'success', is_error: false, session_id: 'e2ad0f0c-7c1c-4c7e-9a55-3f0d6a1f2b3c' },
  usage: {
    ...{ input_tokens: 1_000, output_tokens: 100 },
    ...{ cache_creation_input_tokens: 0, cache_read_input_tokens: 0 },
  },
  total_cost_usd: 0.5,
};

t.test('a turn with tokens and no cost is priced by what tokens have cost, else too high', (t) => {
  const rates = new Rates();
  const unseen = readResult(line);
  t.match(unseen, { costSeen: false, costUsd: 0 });
  t.equal(rates.priced('m', unseen).costUsd, 0.0225);
  const seen = readResult({ ...line, model_usage_since_last_result: { m: { costUSD: 0.003 } } });
  t.match(seen, { costSeen: true, costUsd: 0.003 });
  t.equal(rates.priced('m', seen), seen);
  rates.learn('m', seen);
  t.ok(Math.abs(rates.priced('m', unseen).costUsd - 0.003) < 1e-9);
  t.end();
});

t.test('a turn without the model has no cost to be seen', (t) => {
  t.equal(readResult({ ...line, usage: {} }).costSeen, true);
  t.end();
});
