/**
 * Decides which commands of a push are allowed.
 * Invariants: the values of the refs and the default branch come from the server, in the same push. If
 * one command is refused, the whole push is refused.
 */
import { branchOf, matchesAny } from './branches.ts';
import { type PushCommand, zero } from './push-commands.ts';
import type { UpstreamRefs } from './upstream-refs.ts';

export interface PushRules {
  /** The patterns of BERTH_GATEWAY_BRANCHES. */
  patterns: readonly string[];
  /** Branches of this repository that berth itself reads or writes. */
  reserved: readonly string[];
}

/** Returns the reason for each refused ref, "<cause>; <remedy>". This needs no server. */
export function refusedByName(
  commands: readonly PushCommand[],
  { patterns, reserved }: PushRules,
): Map<string, string> {
  const refused = new Map<string, string>();
  for (const { ref, new: to } of commands) {
    const branch = branchOf(ref);
    const why =
      commands.filter((each) => each.ref === ref).length > 1
        ? 'the push names this ref twice; push it once'
        : branch === undefined
          ? 'only branches may be pushed; push a branch'
          : to === zero
            ? 'no branch may be deleted here; delete the branch on the page of the git server'
            : !matchesAny(branch, patterns)
              ? `the name must match ${patterns.join(' or ')}; push to such a branch`
              : reserved.some((each) => isSame(each, branch))
                ? 'berth uses this branch itself; push to another branch'
                : undefined;
    if (why !== undefined) refused.set(ref, why);
  }
  return refused;
}

/** The same for what only the server knows. */
export function refusedByServer(
  commands: readonly PushCommand[],
  { defaultBranch, values }: UpstreamRefs,
): Map<string, string> {
  const refused = new Map<string, string>();
  for (const { ref, old } of commands) {
    const current = values.get(ref) ?? zero;
    const why =
      defaultBranch === undefined
        ? 'the repository has no default branch yet; a person must push the first commit'
        : isSame(defaultBranch, branchOf(ref) ?? '')
          ? 'the default branch may not be pushed; push to another branch and open a pull request'
          : current !== old
            ? 'the branch has changed on the server; fetch first'
            : undefined;
    if (why !== undefined) refused.set(ref, why);
  }
  return refused;
}

/** Some servers keep branches in a file system that ignores case. */
function isSame(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}
