import t from 'tap';
import { findBelow } from '../../../init/volume/foreign-files.ts';
import { testDirectory } from '../../support/directory.ts';

t.test('a search with a limit ends early, after the outermost files', async (t) => {
  const root = testDirectory(t, { a: '', b: '', c: { d: { e: '' }, f: '' } });
  const search = (limit?: { entries: number; duration: number }) =>
    findBelow([root], (status) => status.isFile(), {
      signal: new AbortController().signal,
      refused: () => undefined,
      ...(limit && { limit }),
    });
  t.match(await search(), { files: { length: 4 }, checked: 6, partial: false });
  const few = await search({ entries: 4, duration: 60_000 });
  t.match(few, { checked: 4, partial: true });
  t.strictSame(few.files.slice(0, 2).sort(), [`${root}/a`, `${root}/b`]);
  t.match(await search({ entries: 4, duration: 0 }), { files: [], checked: 0, partial: true });
});
