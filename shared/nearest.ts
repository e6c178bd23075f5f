/** Finds the known name that is nearest to a misspelt name, by edit distance. */
import { closest, distance } from 'fastest-levenshtein';

/**
 * The nearest candidate if its distance is within a third of the name's length, otherwise
 * undefined.
 */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  if (candidates.length === 0) return undefined;
  const candidate = closest(name, candidates);
  const bound = Math.max(2, Math.floor(name.length / 3));
  return distance(name, candidate) <= bound ? candidate : undefined;
}
