/** Ten thousand queued jobs cost a claim no more than ten: each query seeks in an index. */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t from 'tap';
import { claimQueries } from '../../../../supervisor/jobs/sqlite/claims.ts';
import { JobCalls } from '../../../../supervisor/jobs/sqlite/job-calls.ts';
import { overviewQueries } from '../../../../supervisor/jobs/sqlite/overview.ts';
import type { Call, Reply } from '../../../../supervisor/jobs/sqlite/protocol.ts';
import { pruneQueries } from '../../../../supervisor/jobs/sqlite/prune.ts';
import {
  foreignObjects,
  migrate,
  migrations,
  versionOf,
} from '../../../../supervisor/jobs/sqlite/schema.ts';
import { testDirectory } from '../../../support/directory.ts';
import { sampleJob } from '../../../support/stored-job.ts';

t.test('no query reads the table row by row, or sorts', (t) => {
  const db = new DatabaseSync(':memory:');
  migrate(db, ':memory:');
  const plans = (query: string): string[] =>
    db
      .prepare(`EXPLAIN QUERY PLAN ${query}`)
      .all()
      .map(({ detail }) => String(detail));
  for (const query of claimQueries) {
    for (const step of plans(query)) t.match(step, /^SEARCH jobs USING/, `${step}: ${query}`);
  }
  for (const query of [...overviewQueries, ...pruneQueries]) {
    for (const step of plans(query)) {
      t.notMatch(step, /^SCAN jobs$|TEMP B-TREE/, `${step}: ${query}`);
    }
  }
  db.close();
  t.end();
});

t.test('a file of an older version is migrated, completely or not at all', (t) => {
  const path = join(testDirectory(t, {}), 'jobs.sqlite');
  const db = new DatabaseSync(path);
  migrate(db, path);
  t.equal(versionOf(db), migrations.length);
  t.throws(() => migrate(db, path, [...migrations, 'CREATE TABLE more (x); NO SQL']));
  if (db.isTransaction) db.exec('ROLLBACK');
  t.equal(foreignObjects(db), undefined, 'a failed migration leaves nothing');
  const steps = [...migrations, 'CREATE TABLE more (x)'];
  migrate(db, path, steps);
  t.equal(versionOf(db), migrations.length + 1);
  t.throws(() => migrate(db, path), { code: 'job_store_unavailable', message: /newer berth/ });
  db.close();
  t.end();
});

t.test('a call that fails does not disturb the calls of its transaction', (t) => {
  const stateDirectory = testDirectory(t, {});
  const calls = new JobCalls(() => {});
  const run = (...given: [Call['name'], ...unknown[]][]): Reply[] =>
    calls.run(given.map(([name, ...args], id) => ({ id, name, args })));
  const path = join(stateDirectory, 'jobs.sqlite');
  run(['open', { path, results: join(stateDirectory, 'job-results'), most: 4 }]);
  const [one, two] = [sampleJob(), sampleJob()];
  const replies = run(['add', one], ['add', one], ['add', two], ['add', sampleJob()], ['counts']);
  t.match(replies, [
    { id: 0, value: { created: true } },
    { id: 1, error: { code: 'internal' } },
    { id: 2, value: { created: true } },
    { id: 3, error: { code: 'jobs_full' } },
    { id: 4, value: { byState: { queued: 2 } } },
  ]);
  t.match(run(['read', two.id]), [{ value: { job: two } }]);
  run(['close']);
  t.match(run(['counts']), [{ error: { details: { reason: 'closed' } } }]);
  t.end();
});
