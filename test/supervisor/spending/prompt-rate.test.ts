import t from 'tap';
import { PromptRate } from '../../../supervisor/spending/prompt-rate.ts';

const minute = 60_000;

function clocked() {
  const clock = { now: 5 };
  return { clock, rate: new PromptRate(() => clock.now) };
}

t.test('a token starts no more prompts than its limit within any hour', async (t) => {
  const { clock, rate } = clocked();
  for (const at of [0, 10, 20]) {
    clock.now = at * minute;
    rate.start('n8n', 'review', 3);
  }
  clock.now = 30 * minute;
  t.throws(() => rate.start('n8n', 'review', 3), {
    code: 'prompts_exceeded',
    message: /token n8n has started 3 prompts with the profile review.*prompts_per_hour/,
    details: { limit: 3, retry_after: 1_800 },
  });
  clock.now = 60 * minute;
  rate.start('n8n', 'review', 3);
  t.throws(() => rate.start('n8n', 'review', 3), {
    code: 'prompts_exceeded',
    details: { retry_after: 600 },
  });
});

t.test('a refused prompt does not count', async (t) => {
  const { clock, rate } = clocked();
  rate.start('n8n', 'review', 1);
  for (let tried = 0; tried < 10; tried += 1) {
    clock.now += minute;
    t.throws(() => rate.start('n8n', 'review', 1), { code: 'prompts_exceeded' });
  }
  clock.now += 50 * minute;
  rate.start('n8n', 'review', 1);
});

t.test('tokens and profiles have counts of their own', async (t) => {
  const { rate } = clocked();
  rate.start('n8n', 'review', 1);
  rate.start('home', 'review', 1);
  rate.start('n8n', 'write', 1);
  t.throws(() => rate.start('n8n', 'review', 1), { code: 'prompts_exceeded' });
});

t.test('a start that is taken back does not count', async (t) => {
  const { clock, rate } = clocked();
  rate.start('n8n', 'review', 2);
  clock.now += minute;
  const second = rate.start('n8n', 'review', 2);
  rate.forget('n8n', 'review', second);
  rate.forget('n8n', 'review', second);
  rate.start('n8n', 'review', 2);
  t.throws(() => rate.start('n8n', 'review', 2), { code: 'prompts_exceeded' });
});

t.test('a lower limit counts the starts from before', async (t) => {
  const { clock, rate } = clocked();
  for (let count = 0; count < 5; count += 1) {
    clock.now = count * minute;
    rate.start('n8n', 'review', 5);
  }
  clock.now = 10 * minute;
  const lower = { code: 'prompts_exceeded', details: { limit: 2, retry_after: 53 * 60 } };
  t.throws(() => rate.start('n8n', 'review', 2), lower);
});
