/** Samples of `npm run soak:prompts` and `npm run soak:kills`. */
import t from 'tap';
import { kinds } from '../soak/prompts-mix.ts';
import { runPrompts } from '../soak/prompts-run.ts';
import { scriptedClaude } from '../support/claude.ts';
import { testDirectory } from '../support/directory.ts';

t.test(
  'prompts of every kind and killed workers: one answer each, and nothing is left',
  async (t) => {
    const { outcomes, kills, looked, problems } = await runPrompts({
      directory: testDirectory(t, {}),
      cli: scriptedClaude,
      until: { prompts: 2 * kinds.length },
      lanes: 4,
      inTurn: true,
      seed: 7,
    });
    t.strictSame(problems, []);
    t.equal(outcomes.length, 2 * kinds.length);
    t.same(new Set(outcomes.map(({ kind }) => kind)), new Set(kinds));
    t.ok(kills > 0);
    t.ok(looked > 5);
  },
);

t.test(
  'three workers of the real CLI killed at any moment: an answer or a typed error each, nothing left',
  async (t) => {
    const { outcomes, kills, problems } = await runPrompts({
      directory: testDirectory(t, {}),
      until: { kills: 3 },
      lanes: 4,
      seed: 3,
    });
    t.strictSame(problems, []);
    t.equal(kills, 3);
    t.ok(outcomes.length > 3);
  },
);
