import type { Test } from 'tap';

type Content = Parameters<Test['testdir']>[0];

/**
 * A folder of the test's own, removed after all teardowns. tap itself removes the folder before the
 * teardowns that come later than it, so that a process which is still running would write into it.
 * @param content what `t.testdir` takes
 */
export function testDirectory(t: Test, content?: Content): string {
  t.teardown(() => {});
  return t.testdir(content);
}
