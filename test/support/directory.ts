import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';

type Content = NonNullable<Parameters<Test['testdir']>[0]>;

/** How many folders a test has. */
const counts = new WeakMap<Test, number>();

/**
 * A folder of the test's own, removed after all teardowns. tap itself removes the folder before the
 * teardowns that come later than it, so that a process which is still running would write into it.
 * tap also gives a test the same folder again, and empties it; here each call gives another folder.
 * @param content what `t.testdir` takes; from the second call on, only files and folders
 */
export function testDirectory(t: Test, content: Content = {}): string {
  const count = (counts.get(t) ?? 0) + 1;
  counts.set(t, count);
  if (count === 1) {
    t.teardown(() => {});
    return t.testdir(content);
  }
  const directory = `${t.testdirName}-${count}`;
  rmSync(directory, { recursive: true, force: true });
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  write(directory, content);
  return directory;
}

function write(path: string, content: unknown): void {
  if (typeof content === 'string' || Buffer.isBuffer(content)) {
    writeFileSync(path, content);
    return;
  }
  if (content === null || Object.getPrototypeOf(content) !== Object.prototype) {
    throw new Error(`cannot make ${path}: the second folder of a test has only files and folders`);
  }
  mkdirSync(path, { recursive: true });
  for (const [name, each] of Object.entries(content as object)) write(join(path, name), each);
}
