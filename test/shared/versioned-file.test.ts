import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { z } from 'zod';
import { readVersioned } from '../../shared/versioned-file.ts';
import { testDirectory } from '../support/directory.ts';
import { root, withoutDescriptors } from '../support/without-descriptors.ts';

t.test('a file is absent, valid, damaged, or of a newer version', async (t) => {
  const schema = z.object({ version: z.literal(1), word: z.string() });
  const path = join(testDirectory(t), 'file.json');
  const read = () => readVersioned(path, schema, 64);
  t.same(await read(), { kind: 'absent' });
  writeFileSync(path, '{"version":1,"word":"yes"}');
  t.same(await read(), { kind: 'valid', value: { version: 1, word: 'yes' } });
  for (const text of ['{', '{"version":1}', 'null', `"${'x'.repeat(64)}"`]) {
    writeFileSync(path, text);
    t.match(await read(), { kind: 'damaged', reason: /./ }, text);
  }
  writeFileSync(path, '{"version":2}');
  await t.rejects(read(), { code: 'volume_damaged', message: /version 2/ });
});

/** For an `import`: a path may have characters that are special in a string or in a URL. */
const quoted = (path: string): string => JSON.stringify(pathToFileURL(join(root, path)).href);

/** Reads both files in a process that has no descriptor left. */
const reads = `
  import { readSpending } from ${quoted('supervisor/spending/spending-file.ts')};
  import { readVersioned } from ${quoted('shared/versioned-file.ts')};
  import { z } from 'zod';
  const [directory] = process.argv.slice(1);
  exhaust();
  const both = await Promise.allSettled([
    readVersioned(directory + '/file.json', z.unknown(), 64),
    readSpending(directory),
  ]);
  console.log(JSON.stringify(both.map(({ reason }) => reason && [reason.code, reason.message])));
`;

t.test('a file that cannot be read just now is neither damaged nor set aside', async (t) => {
  const directory = testDirectory(t, { 'file.json': '{"version":1}', 'spending.json': '{}' });
  const failure = ['volume_unwritable', /EMFILE/];
  t.match(await withoutDescriptors(reads, directory), [failure, failure]);
  t.equal(readFileSync(join(directory, 'spending.json'), 'utf8'), '{}');
  t.notOk(existsSync(join(directory, 'conflicts')));
});
