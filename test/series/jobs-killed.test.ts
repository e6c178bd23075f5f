/**
 * Jobs with the real CLI while the supervisor is killed without warning, alone or with its workers. A fixed sample of
 * what `npm run soak:jobs` does at length. It is not in `npm test`: two jobs and one kill already take 11 s of CPU time,
 * since each start of the supervisor starts the real CLI several times.
 */
import t from 'tap';
import { runJobs } from '../soak/jobs-run.ts';
import { realClaude } from '../support/claude.ts';
import { testDirectory } from '../support/directory.ts';

t.test('each accepted job ends once, when berth is killed in the middle of its turn', async (t) => {
  const { ended, problems, kills, struck } = await runJobs({
    ...{ directory: testDirectory(t), cli: realClaude },
    // With this seed the first kill takes the supervisor alone, and the second kill takes its workers too.
    ...{ jobs: 3, kills: 2, seed: 190, between: 1_500, inTurn: true },
  });
  t.strictSame(problems, []);
  t.strictSame(ended, { succeeded: 3 });
  t.strictSame(kills, { alone: 1, withWorkers: 1 });
  t.ok(struck > 0, 'a kill came in the middle of a turn');
});
