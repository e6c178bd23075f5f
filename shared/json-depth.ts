/**
 * Measures how deeply a JSON value is nested.
 * Invariant: the value may be nested without limit: nothing here calls itself for a level.
 */

/** Levels of lists and objects that berth shows, stores or compares: such code calls itself for each level. */
export const deepest = 100;

/** Whether a value has more levels of lists and objects; a list of texts has one. */
export function isDeeperThan(value: unknown, levels: number): boolean {
  let level = [value].filter(isNested);
  for (let depth = 0; level.length > 0; depth++) {
    if (depth >= levels) return true;
    level = level.flatMap((each) => Object.values(each).filter(isNested));
  }
  return false;
}

function isNested(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
