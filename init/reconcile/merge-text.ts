/**
 * Three-way merge of text by lines.
 * Invariants: binary content, too large text, and text that takes too long to compare are not
 * merged. Line ends and a missing last line end stay as they are.
 */
import { isUtf8 } from 'node:buffer';
import { diff3Merge } from 'node-diff3';

/** In bytes; larger text is not merged. */
export const largestText = 1024 * 1024;

/**
 * The library compares each pair of equal lines with its result so far: the maximum of comparisons.
 */
const mostComparisons = 4e9;

export function isText(content: Buffer): boolean {
  return content.length <= largestText && !content.includes(0) && isUtf8(content);
}

/**
 * Merges `local` and `upstream`, both made from `base`; undefined if they conflict or cannot be
 * merged.
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

/** The lines with their line ends, so that joining them returns the same text. */
function linesOf(content: Buffer): string[] {
  return content.toString('utf8').split(/(?<=\n)/);
}

/** Splits off the common start and end of all texts, which is most of the text after an edit. */
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

/** An upper bound of the library's steps: equal pairs times the longest common sequence. */
function comparisons(a: readonly string[], b: readonly string[]): number {
  const counts = new Map<string, number>();
  for (const line of a) counts.set(line, (counts.get(line) ?? 0) + 1);
  const pairs = b.reduce((sum, line) => sum + (counts.get(line) ?? 0), 0);
  return pairs * Math.min(a.length, b.length);
}
