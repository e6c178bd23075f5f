/**
 * The names of branches: which are valid, and which may be pushed.
 * Invariants: a name is plain ASCII and keeps the rules of git (git-check-ref-format), so that no server
 * reads another name from the same bytes.
 */
import { z } from 'zod';

const prefix = 'refs/heads/';
const validName = /^(?!-)(?!.*(?:\.\.|@\{|\/\/|\/\.|\.lock(?:\/|$)))(?![/.])[!-~]{1,200}(?<![/.])$/;
const forbidden = /[~^:?*[\\]/;

/** Whether `name` (`berth/fix`) is a valid branch. */
export function isBranch(name: string): boolean {
  return validName.test(name) && !forbidden.test(name) && name !== '@';
}

/** The branch of `refs/heads/...`; undefined for any other ref, and for an invalid name. */
export function branchOf(ref: string): string | undefined {
  const name = ref.startsWith(prefix) ? ref.slice(prefix.length) : '';
  return isBranch(name) ? name : undefined;
}

/** Patterns of branches, separated by commas; `*` matches any text. */
export const branchPatterns = z.string().transform((text, context): string[] => {
  const patterns = text.split(',').map((each) => each.trim());
  if (patterns.every((each) => isBranch(each.replaceAll('*', 'x')))) return patterns;
  const message = 'branches separated by commas, in which * matches any text, such as berth/*';
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
});

export function matchesAny(name: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => matches(name, pattern.split('*')));
}

/** Without a regular expression: a pattern with many `*` must not cost much time. */
function matches(name: string, [first = '', ...others]: readonly string[]): boolean {
  if (!name.startsWith(first)) return false;
  const last = others.pop();
  if (last === undefined) return name === first;
  let at = first.length;
  for (const part of others) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return name.length - last.length >= at && name.endsWith(last);
}
