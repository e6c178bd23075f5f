/**
 * Jobs with the real CLI while the supervisor is killed without warning, alone or with its workers. A fixed sample of
 * what `npm run soak:jobs` does at length. It is not in `npm test`: two jobs and one kill already take 11 s of CPU time,
 * since each start of the supervisor starts the real CLI several times.
 */
import t from 'tap';
import { runJobs } from '../soak/jobs-run.ts';
import { realClaude } from '../support/claude.ts';
import { testDirectory } from '../support/directory.ts';

t.test('each accepted job ends once, whenever berth is killed', async (t) => {
  const { ended, problems } = await runJobs({
    ...{ directory: testDirectory(t), cli: realClaude },
    // With this seed the first kill takes the supervisor alone, and the second kill takes its workers too.
    ...{ jobs: 3, kills: 2, seed: 190, between: 4_000 },
  });
  t.strictSame(problems, []);
  t.strictSame(ended, { succeeded: 3 });
});
