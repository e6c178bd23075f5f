/**
 * Runs test files in one process, one after the other: loading the modules of the supervisor costs a second of CPU,
 * which each file would pay again. The environment variable BERTH_TEST_FILES has their paths, one a line, and
 * BERTH_TEST_FILE_TIMEOUT the seconds that each of them may take. A file that takes longer fails by its name, and ends
 * the process.
 */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';

const files = process.env.BERTH_TEST_FILES?.split('\n') ?? [];
const seconds = Number(process.env.BERTH_TEST_FILE_TIMEOUT ?? 300);
delete process.env.BERTH_TEST_FILES;
delete process.env.BERTH_TEST_FILE_TIMEOUT;

/** Ends what the present file shares among its tests. tap itself would end the run, with the files that are left. */
const teardowns: (() => unknown)[] = [];
t.teardown = (end) => {
  teardowns.unshift(end);
};

// A file that sets its own time would set that of all.
t.setTimeout = () => undefined;

/** Fails with the test that runs, and with what keeps the process alive. */
function failAfter(longest: number, what: string): NodeJS.Timeout {
  return setTimeout(() => t.timeout({ expired: what }), longest * 1_000).unref();
}

for (const file of files) {
  const late = failAfter(seconds, file);
  t.jobs = 1;
  await import(pathToFileURL(join(import.meta.dirname, '../..', file)).href);
  // It begins after the last test of the file has ended.
  await t.test(`all tests of ${file} have ended`, async () => {
    for (const end of teardowns.splice(0)) await end();
  });
  clearTimeout(late);
}
const longestExit = Number(process.env.BERTH_TEST_LONGEST_EXIT ?? 30);
failAfter(longestExit, 'the process goes on although all tests have ended');
