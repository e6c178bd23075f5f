/** A replica keeps its name with its volume. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { nameOfReplica, replicaFile } from '../../../supervisor/boot/replica-name.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { plantUnreadable } from '../../support/unreadable-file.ts';

t.test('a new pod with the same volume has the name of the pod before', async (t) => {
  const directory = testDirectory(t);
  const { log, lines } = captureLog();
  t.equal(await nameOfReplica(directory, 'berth-1-abc', log), 'berth-1-abc');
  t.equal(await nameOfReplica(directory, 'berth-2-def', log), 'berth-1-abc');
  t.equal(await nameOfReplica(testDirectory(t), 'berth-2-def', log), 'berth-2-def');
  t.strictSame(lines, []);
});

t.test('a name that cannot be read is replaced', async (t) => {
  const directory = testDirectory(t);
  const { log } = captureLog();
  for (const text of ['', 'two words', 'x'.repeat(2_000), '\0']) {
    writeFileSync(join(directory, replicaFile), text);
    t.equal(await nameOfReplica(directory, 'berth-0', log), 'berth-0');
    t.equal(readFileSync(join(directory, replicaFile), 'utf8'), 'berth-0\n');
  }
});

t.test('a name that the system refuses to read is not replaced', async (t) => {
  const directory = testDirectory(t);
  const { log, count } = captureLog();
  const path = join(directory, replicaFile);
  await plantUnreadable(t, path);
  t.equal(await nameOfReplica(directory, 'berth-0', log), 'berth-0');
  t.ok(statSync(path).isSocket());
  t.equal(count('replica_unnamed'), 1);
});

t.test('without a writable volume the name is the host name', async (t) => {
  const { log, count } = captureLog();
  const file = join(testDirectory(t), 'file');
  writeFileSync(file, '');
  t.equal(await nameOfReplica(join(file, 'state'), 'berth-0', log), 'berth-0');
  t.equal(count('replica_unnamed'), 1);
});
