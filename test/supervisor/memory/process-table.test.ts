import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { readPageSize } from '../../../supervisor/memory/process-table.ts';
import { testDirectory } from '../../support/directory.ts';

t.test('the size of a page is that of the kernel, and 4 KiB where it is unknown', async (t) => {
  const root = testDirectory(t, { self: {} });
  t.equal(readPageSize(root), 4_096, 'no file');
  // AT_HWCAP, AT_PAGESZ, AT_NULL; a value may look like a name.
  const pairs = BigUint64Array.from([16n, 6n, 6n, 65_536n, 0n, 0n]);
  writeFileSync(join(root, 'self/auxv'), Buffer.from(pairs.buffer));
  t.equal(readPageSize(root), 65_536);
  writeFileSync(join(root, 'self/auxv'), Buffer.from(pairs.buffer, 0, 16));
  t.equal(readPageSize(root), 4_096, 'it has no such name');
  writeFileSync(join(root, 'self/auxv'), 'odd');
  t.equal(readPageSize(root), 4_096, 'it is damaged');
});
