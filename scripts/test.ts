/**
 * Runs test files, each in a process of its own, two at a time, and prints TAP:
 *   node scripts/test.ts quick | series | containers | FILE... [--jobs N] [--timeout SECONDS] [--floor PERCENT]
 * The command of tap would load a recorder of modules into each test process, which costs half a second of CPU.
 * A terminal gets only the files, and the tests that failed or were skipped. With `--floor` the run fails if fewer lines of init, shared and supervisor ran inside the test processes.
 */
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, matchesGlob } from 'node:path';
import { parseArgs } from 'node:util';
import t from 'tap';
import { coveredLines } from './coverage.ts';
import { shortenTap } from './shorten-tap.ts';

const root = join(import.meta.dirname, '..');

/** Each suite by its files; those that are first take longest, and so do not run alone at the end. */
const suites: Readonly<Record<string, { files: string; without?: string; first?: string[] }>> = {
  quick: { files: 'test/**/*.test.ts', without: 'test/{series,containers}/**' },
  series: {
    files: 'test/series/**/*.test.ts',
    first: [
      ...['prompts', 'leaks', 'refresh', 'killed', 'credentials-days', 'mcp-servers', 'background'],
      ...['program', 'bundle-init', 'dashboard-pod', 'processes'],
    ],
  },
  containers: { files: 'test/containers/*.test.ts' },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    jobs: { type: 'string', default: '2' },
    timeout: { type: 'string', default: '300' },
    floor: { type: 'string' },
  },
});
const files = positionals.flatMap(filesOf);
if (files.length === 0) throw new Error('name a suite or files: quick, series, test/x.test.ts');

function filesOf(name: string): string[] {
  const suite = suites[name];
  if (!suite) return [name];
  const { files, without = '', first = [] } = suite;
  const found = globSync(files, { cwd: root }).sort();
  const rank = (file: string): number => {
    const place = first.findIndex((name) => file.endsWith(`/${name}.test.ts`));
    return place < 0 ? first.length : place;
  };
  return found
    .filter((file) => !matchesGlob(file, without))
    .sort((one, other) => rank(one) - rank(other));
}

const coverage = values.floor === undefined ? undefined : mkdtempSync(join(tmpdir(), 'coverage-'));
const imports = ['plain-children', ...(coverage ? ['count-lines'] : [])];
const environment = {
  ...process.env,
  NODE_COMPILE_CACHE: join(root, 'node_modules/.cache/compile'),
  TAP_TIMEOUT: values.timeout,
  ...(coverage ? { BERTH_TEST_COVERAGE: coverage } : {}),
};

if (process.stdout.isTTY) {
  t.register();
  t.pipe(shortenTap()).pipe(process.stdout);
}
t.setTimeout(0);
t.jobs = Number(values.jobs);
t.plan(files.length);
const runs = files.map((name) =>
  t.spawn(
    process.execPath,
    [...imports.map((one) => `--import=${root}/test/support/${one}.ts`), join(root, name)],
    {
      name,
      cwd: root,
      env: environment,
      buffered: t.jobs > 1,
      timeout: Number(values.timeout) * 1_000,
      at: null,
      stack: '',
    },
  ),
);
await Promise.all(runs);

if (coverage) {
  const { covered, lines } = coveredLines(coverage, root);
  rmSync(coverage, { recursive: true });
  const percent = Math.floor((covered / lines) * 10_000) / 100;
  const enough = percent >= Number(values.floor);
  console.log(`# coverage: ${percent} % of ${lines} lines; the floor is ${values.floor} %`);
  if (!enough) {
    console.error('the coverage is below its floor: test what was added, or lower the floor');
    process.exitCode = 1;
  }
}
