/**
 * Runs test files in one process, one after the other: loading the modules of the supervisor costs a second of CPU,
 * which each file would pay again. The environment variable BERTH_TEST_FILES has their paths, one a line.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';

const files = process.env.BERTH_TEST_FILES?.split('\n') ?? [];
delete process.env.BERTH_TEST_FILES;

/** Ends what the present file shares among its tests. tap itself would end the run, with the files that are left. */
const teardowns: (() => unknown)[] = [];
t.teardown = (end) => {
  teardowns.unshift(end);
};

// A file that sets its own time would set that of all.
t.setTimeout = () => undefined;

for (const file of files) {
  t.jobs = 1;
  await import(pathToFileURL(join(import.meta.dirname, '../..', file)).href);
  // It begins after the last test of the file has ended.
  await t.test(`all tests of ${file} have ended`, async () => {
    for (const end of teardowns.splice(0)) await end();
  });
}
