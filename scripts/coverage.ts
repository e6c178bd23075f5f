/** Merges what test/support/count-lines.ts wrote of each test process. */
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** From and to, as offsets into the source; the end is not in it. */
export type Span = readonly [number, number];

/** The spans of each source that did not run, by its path below the root. */
export type NotRun = Record<string, Span[]>;

const sources = '{init,shared,supervisor}/**/*.ts';

/** How many lines of the sources ran in any process. A source that no process loaded did not run. */
export function coveredLines(directory: string, root: string): { covered: number; lines: number } {
  const notRun = new Map<string, Span[]>();
  for (const name of readdirSync(directory)) {
    const one = JSON.parse(readFileSync(join(directory, name), 'utf8')) as NotRun;
    for (const [path, spans] of Object.entries(one)) {
      const before = notRun.get(path);
      notRun.set(path, before ? intersection(before, spans) : spans);
    }
  }
  let covered = 0;
  let lines = 0;
  for (const path of globSync(sources, { cwd: root })) {
    const text = readFileSync(join(root, path), 'utf8');
    const spans = notRun.get(path) ?? [[0, text.length]];
    let start = 0;
    for (const line of text.trimEnd().split('\n')) {
      const end = start + line.length;
      const ran = !spans.some(([from, to]) => from <= start && end <= to);
      lines += 1;
      if (ran) covered += 1;
      start = end + 1;
    }
  }
  return { covered, lines };
}

/** What lies in both; each has its spans in order and apart. */
export function intersection(one: readonly Span[], other: readonly Span[]): Span[] {
  const both: Span[] = [];
  let [i, j] = [0, 0];
  for (;;) {
    const [a, b] = [one[i], other[j]];
    if (!a || !b) return both;
    const [from, to] = [Math.max(a[0], b[0]), Math.min(a[1], b[1])];
    if (from < to) both.push([from, to]);
    if (a[1] < b[1]) i += 1;
    else j += 1;
  }
}
