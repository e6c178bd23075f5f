/**
 * Recovers the plan of an interrupted run whose `pending.json` is unreadable: the git directory
 * still names the commit that was fetched last, and a file with the blob of that commit was written
 * by berth and is not an edit.
 * Invariants: the commit and its trees are checked against their ids. If some are missing, nothing
 * is known, and a possible edit is kept.
 */
import { join } from 'node:path';
import { GitDirectory } from '../git/git-directory.ts';
import { readTree } from '../git/tree.ts';
import type { TreeRecord } from './record.ts';

/** @param applied the state before that run */
export async function lostAnnouncement(
  stateDirectory: string,
  applied: TreeRecord,
): Promise<TreeRecord | undefined> {
  const directory = new GitDirectory(join(stateDirectory, 'git'));
  try {
    const commit = await directory.fetched();
    if (commit === undefined || commit === applied.commit) return undefined;
    const { type, content } = await directory.read(commit);
    if (type !== 'commit') return undefined;
    const tree = await readTree(content, (oid) => directory.read(oid));
    const { repository, ref, directory: part } = applied;
    return {
      version: 1,
      repository,
      ref,
      directory: part,
      commit,
      commit_text: content.toString('base64'),
      fetched_at: applied.fetched_at,
      entries: Object.fromEntries(tree),
    };
  } catch {
    return undefined;
  } finally {
    await directory.close();
  }
}
