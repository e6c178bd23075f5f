/**
 * Loaded before each test file by `npm test`: writes at the end which parts of the sources did not run in this process,
 * to the directory BERTH_TEST_COVERAGE. scripts/coverage.ts merges the files of all processes.
 */
import { writeFileSync } from 'node:fs';
import { type Profiler, Session } from 'node:inspector';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { NotRun, Span } from '../../scripts/coverage.ts';

const root = join(import.meta.dirname, '../..');
const directory = process.env.BERTH_TEST_COVERAGE ?? '';
delete process.env.BERTH_TEST_COVERAGE;

const session = new Session();
session.connect();
session.post('Profiler.enable');
session.post('Profiler.startPreciseCoverage', { callCount: false, detailed: true });

process.on('exit', () => {
  session.post('Profiler.takePreciseCoverage', (_error, { result }) => {
    const notRun: NotRun = {};
    for (const { url, functions } of result) {
      if (!url.startsWith('file://')) continue;
      const path = relative(root, fileURLToPath(url));
      if (/^(init|shared|supervisor)\//.test(path)) notRun[path] = spansOf(functions);
    }
    writeFileSync(join(directory, `${process.pid}.json`), JSON.stringify(notRun));
  });
});

/** V8 reports a function before those inside it, and a block before those inside it. */
function spansOf(functions: Profiler.FunctionCoverage[]): Span[] {
  const ranges = functions.flatMap((each) => each.ranges);
  const ran = new Uint8Array(Math.max(...ranges.map(({ endOffset }) => endOffset))).fill(1);
  for (const { startOffset, endOffset, count } of ranges) {
    ran.fill(count > 0 ? 1 : 0, startOffset, endOffset);
  }
  const spans: Span[] = [];
  for (let from = ran.indexOf(0); from >= 0; ) {
    const next = ran.indexOf(1, from);
    const to = next < 0 ? ran.length : next;
    spans.push([from, to]);
    from = next < 0 ? -1 : ran.indexOf(0, next);
  }
  return spans;
}
