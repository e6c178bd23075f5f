import { readdirSync, readlinkSync } from 'node:fs';
import t from 'tap';
import { entriesOf } from '../../../init/proposals/directory-entries.ts';
import { testDirectory } from '../../support/directory.ts';

const isOpen = (path: string) =>
  readdirSync('/proc/self/fd').some((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false;
    }
  });

t.test('entries are read one after another, and the directory is closed at the end', async (t) => {
  const files = Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`file${at}`, 'x']));
  const path = testDirectory(t, files);
  const entries = entriesOf(path);
  t.match(entries.next().value?.name, /^file\d+$/);
  t.ok(isOpen(path), 'while more entries follow');
  entries.return();
  t.notOk(isOpen(path), 'at a bound');
  t.equal([...entriesOf(path)].length, 100);
  t.notOk(isOpen(path));
  t.same([...entriesOf(`${path}/missing`)], []);
});
