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

/** tap's own bound, which its parent has too: printed is little more than that it was exceeded. */
const boundProcess = t.setTimeout.bind(t);
const more = 30_000;
let bound: NodeJS.Timeout | undefined;

/** From now on so many milliseconds; then it fails with the test that runs, and with what keeps the process alive. */
function allow(milliseconds: number, what: string): void {
  clearTimeout(bound);
  bound = setTimeout(() => {
    t.timeout({ expired: what });
    // When the output is written.
    setTimeout(() => process.exit(1), 1_000);
  }, milliseconds).unref();
  boundProcess(milliseconds + more);
}

for (const file of files) {
  // A file may set its own time.
  t.setTimeout = (milliseconds) => allow(milliseconds, file);
  allow(seconds * 1_000, file);
  t.jobs = 1;
  await import(pathToFileURL(join(import.meta.dirname, '../..', file)).href);
  // It begins after the last test of the file has ended: with several jobs it would run beside the last ones.
  await t.test(`all tests of ${file} have ended`, { buffered: false }, async () => {
    for (const end of teardowns.splice(0)) await end();
  });
}
const longestExit = Number(process.env.BERTH_TEST_LONGEST_EXIT ?? 30);
allow(longestExit * 1_000, 'the process goes on although all tests have ended');
