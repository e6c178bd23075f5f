/**
 * Three-way merge of text by lines. Always holds: what is no text, too large, or would take too long
 * to compare is not merged; line ends and a missing last one stay as they are.
 */
import { isUtf8 } from 'node:buffer';
import { diff3Merge } from 'node-diff3';

/** Bytes; what is larger is not merged. */
export const largestText = 1024 * 1024;

/** The library compares each pair of equal lines with what it has so far: more than this is too much. */
const mostComparisons = 4e9;

export function isText(content: Buffer): boolean {
  return content.length <= largestText && !content.includes(0) && isUtf8(content);
}

/**
 * `local` and `upstream`, both made from `base`, in one; undefined if they contradict each other or
 * cannot be merged.
 */
export function mergeText(base: Buffer, local: Buffer, upstream: Buffer): Buffer | undefined {
  if (![base, local, upstream].every(isText)) return undefined;
  const [first, middle, last] = split([base, local, upstream].map(linesOf));
  const [original = [], mine = [], theirs = []] = middle;
  if (comparisons(original, mine) + comparisons(original, theirs) > mostComparisons) {
    return undefined;
  }
  const merged = [...first];
  for (const region of diff3Merge(mine, original, theirs, { excludeFalseConflicts: true })) {
    if (region.ok === undefined) return undefined;
    for (const line of region.ok) merged.push(line);
  }
  return Buffer.from([...merged, ...last].join(''));
}

/** Each with its line end, so that putting them together gives the same text. */
function linesOf(content: Buffer): string[] {
  return content.toString('utf8').split(/(?<=\n)/);
}

/** What all texts begin and end with is equal anyway, and most of what an edit leaves. */
function split(texts: readonly string[][]): [string[], string[][], string[]] {
  const [one = []] = texts;
  const shortest = Math.min(...texts.map((lines) => lines.length));
  let start = 0;
  while (start < shortest && texts.every((lines) => lines[start] === one[start])) start++;
  let end = 0;
  const fromEnd = (lines: string[]) => lines[lines.length - 1 - end];
  while (end < shortest - start && texts.every((lines) => fromEnd(lines) === fromEnd(one))) end++;
  return [
    one.slice(0, start),
    texts.map((lines) => lines.slice(start, lines.length - end)),
    one.slice(one.length - end),
  ];
}

/** At most so many steps for the library: equal pairs, each against the longest common sequence. */
function comparisons(a: readonly string[], b: readonly string[]): number {
  const counts = new Map<string, number>();
  for (const line of a) counts.set(line, (counts.get(line) ?? 0) + 1);
  const pairs = b.reduce((sum, line) => sum + (counts.get(line) ?? 0), 0);
  return pairs * Math.min(a.length, b.length);
}
