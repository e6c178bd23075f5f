/** Some seconds of what `npm run soak:hostile` does for ten minutes; its figures: docs/reliability.md. */
import t from 'tap';
import { runHostile } from '../soak/hostile-run.ts';
import { scripted } from '../support/claude.ts';
import { testDirectory } from '../support/directory.ts';

t.test('hostile requests end no server, fill no memory and show no bug', async (t) => {
  const figures = await runHostile({
    directory: testDirectory(t, {}),
    claude: scripted('claude-that-answers'),
    milliseconds: 6_000,
    seed: 12,
    different: 100,
  });
  t.same(figures.bugs, []);
  t.equal(figures.exitCode, 0);
  t.equal(figures.livez.failed, 0);
  // A schema of 13 KB took 27 s once; what a loaded machine takes is below this.
  t.ok(figures.livez.max < 10_000, `/livez took ${figures.livez.max} ms at most`);
  t.ok(figures.rss.most < 500, `${figures.rss.most} MB`);
});
