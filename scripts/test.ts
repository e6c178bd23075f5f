/**
 * Runs test files in processes, several at a time, and prints TAP. Files share a process with others of their area,
 * since loading the modules costs more than most of their tests:
 *   node scripts/test.ts quick | series | containers | FILE... [--jobs N] [--timeout SECONDS] [--floor PERCENT]
 * No test process loads the recorder of tap, and none passes anything of tap to its children.
 * A terminal gets only the files, and the tests that failed or were skipped. With `--floor` the run fails if fewer
 * lines of init, shared and supervisor ran inside the test processes. A machine that has to skip tests cannot reach the
 * floor, and does not fail by it; CI skips nothing.
 */
import { chmodSync, globSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, matchesGlob, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import t from 'tap';
import { coveredLines } from './coverage.ts';
import { shortenTap } from './shorten-tap.ts';

const root = join(import.meta.dirname, '..');

interface Suite {
  files: string;
  without?: string;
  first?: string[];
  /** How many files of one area may share a process; those that are first have one of their own. */
  shared?: number;
}

/** A test process. */
interface Run {
  name: string;
  files: string[];
}

/** Each suite by its files; those that are first take longest, and so do not run alone at the end. */
const suites: Readonly<Record<string, Suite>> = {
  quick: {
    files: 'test/**/*.test.ts',
    without: 'test/{series,containers}/**',
    first: ['resume-prompt', 'http/prompts', 'main-job', 'prompts/sessions', 'sync/sync'],
    shared: 20,
  },
  series: {
    files: 'test/series/**/*.test.ts',
    first: [
      ...['prompts', 'leaks', 'refresh', 'killed', 'credentials-days', 'mcp-servers', 'background'],
      ...['program', 'bundle-init', 'dashboard-pod', 'processes', 'clients', 'stop', 'limits'],
    ],
    shared: 5,
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
const runs = positionals.flatMap(runsOf);
if (runs.length === 0) throw new Error('name a suite or files: quick, series, test/x.test.ts');

function runsOf(name: string): Run[] {
  const suite = suites[name];
  if (!suite) return [{ name, files: [name] }];
  const { files, without = '', first = [], shared = 1 } = suite;
  const found = globSync(files, { cwd: root }).filter((file) => !matchesGlob(file, without));
  const isFirst = (file: string, place: string): boolean => file.endsWith(`/${place}.test.ts`);
  const early = first.flatMap((place) => found.filter((file) => isFirst(file, place)));
  const rest = found.filter((file) => !early.includes(file)).sort();
  // Those of `shared` are short: started last, they keep both cores busy until the end.
  const isShort = (file: string): number => Number(areaOf(file).endsWith('shared'));
  const areas = Object.groupBy(
    rest.toSorted((one, other) => isShort(one) - isShort(other)),
    areaOf,
  );
  const groups = Object.values(areas).flatMap((area = []) => chunksOf(area, shared));
  return [...early.map((file) => [file]), ...groups].map((files) => ({
    name: nameOf(files),
    files,
  }));
}

/** The supervisor and init load different modules. */
function areaOf(file: string): string {
  const [, area = 'test'] = /^(test\/(?:series\/)?(?:supervisor|init|shared))\//.exec(file) ?? [];
  return area;
}

function nameOf(files: string[]): string {
  const [first = ''] = files;
  if (files.length === 1) return first;
  const area = areaOf(first);
  const names = files.map((file) => relative(area, file).replace('.test.ts', ''));
  return `${area}: ${names.join(', ')}`;
}

/** As few chunks as possible, of about the same length. */
function chunksOf<T>(list: T[], longest: number): T[][] {
  const count = Math.ceil(list.length / longest);
  return Array.from({ length: count }, (_, index) =>
    list.filter((_, place) => place % count === index),
  );
}

/** Contains a folder for the temporary files of each test process, and of the CLIs that it starts. */
const temporary = mkdtempSync(join(tmpdir(), 'berth-tests-'));
chmodSync(temporary, 0o755);
const coverage = values.floor === undefined ? undefined : mkdtempSync(join(tmpdir(), 'coverage-'));
const imports = ['no-async-hooks', 'rejections-fail'];
if (coverage) imports.push('count-lines');
const environment = {
  ...process.env,
  NODE_COMPILE_CACHE: join(root, 'node_modules/.cache/compile'),
  ...(coverage ? { BERTH_TEST_COVERAGE: coverage } : {}),
};

if (process.stdout.isTTY) {
  t.register();
  t.pipe(shortenTap()).pipe(process.stdout);
}
t.setTimeout(0);
t.jobs = Number(values.jobs);
t.plan(runs.length);
const ended = runs.map(({ name, files }, index) => {
  const TMPDIR = join(temporary, String(index));
  mkdirSync(TMPDIR);
  // As for /tmp: tests have processes of other users.
  chmodSync(TMPDIR, 0o1777);
  return t.spawn(
    // tap adds a recorder of modules and of coverage to NODE_OPTIONS, also for all children of the process.
    '/usr/bin/env',
    [
      `NODE_OPTIONS=${process.env.NODE_OPTIONS ?? ''}`,
      process.execPath,
      // With fewer collections a test process takes about 3 % less CPU.
      '--min-semi-space-size=32',
      '--max-semi-space-size=32',
      ...imports.map((one) => `--import=${pathToFileURL(join(root, `test/support/${one}.ts`))}`),
      join(root, 'test/support/several-files.ts'),
      // The folders of its tests are named for its arguments.
      ...files.slice(0, 1),
    ],
    {
      name,
      cwd: root,
      env: {
        ...environment,
        TMPDIR,
        BERTH_TEST_FILES: files.join('\n'),
        BERTH_TEST_FILE_TIMEOUT: values.timeout,
      },
      buffered: t.jobs > 1,
      at: null,
      stack: '',
    },
  );
});
await Promise.all(ended);
try {
  rmSync(temporary, { recursive: true, force: true, maxRetries: 5 });
} catch (error) {
  console.error(`# cannot remove ${temporary}: ${(error as Error).message}`);
}

if (coverage) {
  const { covered, lines } = coveredLines(coverage, root);
  rmSync(coverage, { recursive: true });
  const percent = Math.floor((covered / lines) * 10_000) / 100;
  const enough = percent >= Number(values.floor);
  const skipped = t.counts.skip > 0;
  console.log(`# coverage: ${percent} % of ${lines} lines; the floor is ${values.floor} %`);
  if (!enough && skipped) {
    console.log('# the floor is not applied: tests were skipped, and each has its reason above');
  } else if (!enough) {
    console.error('the coverage is below its floor: test what was added, or lower the floor');
    process.exitCode = 1;
  }
}
