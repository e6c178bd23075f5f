/**
 * The list of repositories that a profile allows.
 * Invariant: names are compared letter by letter, as the gateway does.
 */
import { isRepository } from './workspace-request.ts';

/** Whether `pattern` is a repository, or all repositories of an owner: `you/*`. */
export function isRepositoryPattern(pattern: string): boolean {
  return isRepository(pattern.endsWith('/*') ? `${pattern.slice(0, -1)}x` : pattern);
}

export function isListed(repo: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => {
    if (!pattern.endsWith('/*')) return pattern === repo;
    const owner = pattern.slice(0, -1);
    return repo.startsWith(owner) && !repo.slice(owner.length).includes('/');
  });
}
