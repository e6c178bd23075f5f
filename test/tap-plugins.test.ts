import { execFileSync } from 'node:child_process';
import t from 'tap';

// Node strips the types by itself. With tap's own TypeScript plugin each test process would load a
// compiler, which takes seconds; its recorder costs each process, and each child, half a second of CPU.
t.test('no test process loads a TypeScript compiler or a recorder of modules', (t) => {
  const loaded = `${process.execArgv.join(' ')} ${process.env.NODE_OPTIONS ?? ''}`;
  t.notMatch(loaded, /@tapjs/);
  t.end();
});

t.test('a child process gets nothing of tap in its environment', (t) => {
  const script = 'process.stdout.write(JSON.stringify(Object.keys(process.env)))';
  const env = { PATH: process.env.PATH };
  const names = execFileSync(process.execPath, ['-e', script], { env, encoding: 'utf8' });
  t.notMatch(names, /TAP|NODE_OPTIONS/);
  t.end();
});
