import t from 'tap';

// Node strips the types by itself. With tap's own TypeScript plugin each test process would load a
// compiler, which takes seconds. `npm test` therefore builds tap's plugins before it runs tap.
t.test('no test process loads a TypeScript compiler', (t) => {
  t.notMatch(process.execArgv.join(' '), /@tapjs\/typescript/);
  t.end();
});
