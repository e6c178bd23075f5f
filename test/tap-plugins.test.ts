import { execFileSync } from 'node:child_process';
import t from 'tap';

// Node strips the types by itself. With tap's own TypeScript plugin each test process would load a
// compiler, which takes seconds; its recorder of modules costs half a second. scripts/test.ts loads neither.
t.test('no test process loads a TypeScript compiler', (t) => {
  t.notMatch(process.execArgv.join(' '), /@tapjs\/typescript/);
  t.end();
});

t.test('a child process gets nothing of tap in its environment', (t) => {
  const script = 'process.stdout.write(JSON.stringify(Object.keys(process.env)))';
  const env = { PATH: process.env.PATH };
  const names = execFileSync(process.execPath, ['-e', script], { env, encoding: 'utf8' });
  t.notMatch(names, /TAP|NODE_OPTIONS/);
  t.end();
});
