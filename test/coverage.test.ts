import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { coveredLines, intersection } from '../scripts/coverage.ts';
import { testDirectory } from './support/directory.ts';

t.test('a line is uncovered only if no process ran it', (t) => {
  t.same(
    intersection(
      [[0, 10]],
      [
        [2, 4],
        [6, 20],
      ],
    ),
    [
      [2, 4],
      [6, 10],
    ],
  );
  t.same(
    intersection(
      [
        [0, 4],
        [8, 9],
      ],
      [[4, 8]],
    ),
    [],
  );
  t.end();
});

t.test(
  'a line that any process ran partly counts as covered; a file never loaded does not',
  (t) => {
    const root = testDirectory(t, {
      runs: {},
      init: { 'loaded.ts': 'one\ntwo\nthree\n', 'never.ts': 'four\n' },
    });
    const runs = join(root, 'runs');
    for (const sub of ['shared', 'supervisor']) mkdirSync(join(root, sub));
    writeFileSync(join(runs, '1.json'), JSON.stringify({ 'init/loaded.ts': [[0, 7]] }));
    writeFileSync(join(runs, '2.json'), JSON.stringify({ 'init/loaded.ts': [[4, 9]] }));
    t.same(coveredLines(runs, root), { covered: 2, lines: 4 });
    t.end();
  },
);
