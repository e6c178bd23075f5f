/**
 * Shortens TAP for a person at a terminal.
 * Invariant: each result of a file, each failure with its details, and each skipped test with its reason stays.
 */
import type { Transform } from 'node:stream';
import split2 from 'split2';

export function shortenTap(): Transform {
  let detail = false;
  return split2((line: string) => {
    if (/^(not )?ok|^# |^ *not ok/.test(line)) detail = line.trimStart().startsWith('not ok');
    else if (/^ *(ok|# Subtest|1\.\.)/.test(line)) detail = false;
    else if (!detail) return undefined;
    const dropped = /^ +ok|# Subtest|^ *1\.\./.test(line) && !/^ *ok.*# SKIP/.test(line);
    return dropped ? undefined : `${line}\n`;
  });
}
