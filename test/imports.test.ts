import { join } from 'node:path';
import t from 'tap';
import { circlesIn, findViolations, violationsIn } from '../scripts/imports.ts';

t.test('the sources keep to the direction of imports', (t) => {
  t.same(findViolations(join(import.meta.dirname, '..')), []);
  t.end();
});

const forbidden: [file: string, source: string, violation: RegExp][] = [
  ['shared/log.ts', "import { a } from '../init/main.ts';", /may not import init\/main\.ts/],
  ['init/main.ts', "import '../supervisor/config.ts';", /may not import supervisor\/config\.ts/],
  ['supervisor/main.ts', "import { a } from '../init/config.ts';", /may not import init\/config/],
  ['supervisor/pool/pool.ts', "import type { A } from '../prompts/turn.ts';", /prompts\/turn/],
  [
    'supervisor/http/server.ts',
    "import { a } from '../pool/pool.ts';",
    /may not import .*pool\.ts/,
  ],
  ['supervisor/memory/guard.ts', "import { a } from '../pool/pool.ts';", /may not import/],
  ['supervisor/claude/process.ts', "import { a } from '../config.ts';", /may not import/],
  ['supervisor/boot/a.ts', "const a = await import('../pool/pool.ts');", /may not import/],
  ['init/git/tree.ts', "import { a } from '../volume/record.ts';", /may not import/],
  ['supervisor/new/thing.ts', '', /scripts\/imports\.ts does not list/],
  ['supervisor/thing.ts', '', /scripts\/imports\.ts does not list/],
  ['supervisor/pool/pool.ts', "import { spawn } from 'node:child_process';", /starts processes/],
  ['supervisor/pool/pool.ts', "readFile('/proc/self/status')", /reads cgroup or \/proc/],
  ['supervisor/http/status.ts', 'const root = `/sys/fs/cgroup/memory`;', /reads cgroup or \/proc/],
  ['supervisor/supervisor.ts', 'const home = process.env.HOME;', /reads the environment/],
  ['init/prepare.ts', 'process.exit(1);', /exits, which is not allowed/],
  ['shared/log.ts', 'process.exitCode = 1;', /exits, which is not allowed/],
];

for (const [file, source, violation] of forbidden) {
  t.test(`in ${file} this is a violation: ${source}`, (t) => {
    t.match(violationsIn(file, source), [violation]);
    t.equal(violationsIn(file, source).length, 1);
    t.end();
  });
}

const allowed: [file: string, source: string][] = [
  ['supervisor/wiring/compose.ts', "import { Pool } from '../pool/pool.ts';"],
  ['supervisor/http/prompts.ts', "import { Prompts } from '../prompts/prompts.ts';"],
  ['supervisor/pool/pool.ts', "import { BerthError } from '../../shared/errors.ts';"],
  ['supervisor/claude/process.ts', "import { spawn } from 'node:child_process';"],
  ['supervisor/memory/cgroup.ts', "const root = '/sys/fs/cgroup';"],
  ['supervisor/config.ts', 'read(process.env)'],
  ['init/main.ts', 'process.exit(0)'],
  ['shared/version.ts', "import json from '../package.json' with { type: 'json' };"],
];

for (const [file, source] of allowed) {
  t.test(`in ${file} this is allowed: ${source}`, (t) => {
    t.same(violationsIn(file, source), []);
    t.end();
  });
}

t.test('an import cycle is found, also through other files', (t) => {
  const sources: [string, string][] = [
    ['shared/a.ts', "import { b } from './b.ts';"],
    ['shared/b.ts', "import type { c } from './c.ts';"],
    ['shared/c.ts', "import { a } from './a.ts';"],
  ];
  t.same(circlesIn(sources), [
    'shared/a.ts -> shared/b.ts -> shared/c.ts -> shared/a.ts is an import cycle',
  ]);
  t.same(circlesIn(sources.slice(0, 2)), []);
  t.end();
});
