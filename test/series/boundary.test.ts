import t from 'tap';
import { runBoundary } from '../soak/boundary-run.ts';
import { testDirectory } from '../support/directory.ts';

t.test('hostile prompts reach the model byte for byte, and change nothing', async (t) => {
  const report = await runBoundary({
    directory: testDirectory(t, {}),
    // 12 prefixes, and each of the 11 kinds of texts 3 times.
    prompts: 45,
    seed: 4,
    disturbEvery: 7,
  });
  t.strictSame(report.problems, []);
  t.match(report, { prompts: 47, delivered: 47 });
  t.strictSame(report.disturbances, { interrupt: 3, kill: 2, background: 1 });
  t.ok(report.wakeUps > 0);
});
