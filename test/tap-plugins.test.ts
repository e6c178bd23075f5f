import { readFileSync } from 'node:fs';
import t from 'tap';

/**
 * Node strips the types by itself. With tap's own TypeScript plugin each test process would load a
 * compiler, which takes seconds.
 */
t.test('no test process loads a TypeScript compiler', (t) => {
  const loaded = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ');
  t.notMatch(loaded, /ts-node|tsimp/, 'it starts without a loader of TypeScript');
  t.notMatch(readFileSync('/proc/self/maps', 'utf8'), /typescript/);
  t.end();
});
