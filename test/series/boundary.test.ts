import t from 'tap';
import { runBoundary } from '../soak/boundary-run.ts';
import { testDirectory } from '../support/directory.ts';

t.test('hostile prompts reach the model byte for byte, and change nothing', async (t) => {
  const report = await runBoundary({
    directory: testDirectory(t, {}),
    prompts: 45,
    seed: 12,
    disturbEvery: 7,
  });
  t.strictSame(report.problems, []);
  t.match(report, { prompts: 47, delivered: 47 });
  t.ok(report.wakeUps > 0);
});
