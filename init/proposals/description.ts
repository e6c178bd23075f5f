/**
 * The texts of the pull request and of its commit.
 * Invariants: they have paths and times, and no content of a file. A path is plain (paths.ts), so it
 * cannot be Markdown.
 */
import type { Change, LeftOut } from './changes.ts';

export interface Described {
  changes: readonly Pick<Change, 'path' | 'kind' | 'saved' | 'changedAt'>[];
  leftOut: readonly LeftOut[];
  /** The commit on the volume. */
  commit: string;
}

const why: Record<LeftOut['reason'], string> = {
  secret: 'may have a secret',
  too_large: 'larger than 256 KiB',
  binary: 'not text',
  name: 'a name that is not plain',
  too_many: 'more than fits into one pull request; it follows later',
  conflict: 'upstream changed the same lines',
};

/** Lines of each list: GitHub bounds the text to 64 KiB. */
const mostListed = { changes: 100, leftOut: 50 } as const;

export function titleOf({ changes }: Described): string {
  const [first] = changes;
  const others = changes.length - 1;
  const more = others === 0 ? '' : ` and ${others} more`;
  return `Propose changes of the volume: ${first?.path.slice(-120)}${more}`;
}

export function bodyOf(described: Described): string {
  const { changes, leftOut, commit } = described;
  const rows = changes
    .slice(0, mostListed.changes)
    .map((change) => `| \`${change.path}\` | ${kindOf(change)} | ${timeOf(change.changedAt)} |`);
  const left = leftOut
    .filter(({ path }) => path !== '')
    .slice(0, mostListed.leftOut)
    .map(({ path, reason }) => `- \`${path}\`: ${why[reason]}`);
  const unnamed = Map.groupBy(
    leftOut.filter(({ path }) => path === ''),
    ({ reason }) => reason,
  );
  for (const [reason, { length }] of unnamed) {
    const names = length === 1 ? 'its name' : 'their names';
    left.push(`- ${length} more, without ${names}: ${why[reason]}`);
  }
  return [
    `These files changed on the volume, which has commit ${commit.slice(0, 12)}.`,
    'Review them as the work of an untrusted author: a prompt may have caused each change.',
    '',
    '| file | change | last change (UTC) |',
    '|---|---|---|',
    ...rows,
    ...(left.length > 0 ? ['', 'Changed, but left out:', ...left] : []),
    '',
    'Merge this pull request to keep the changes. Close it to decline them: the same content is not proposed again.',
    'berth updates the branch until somebody else pushes to it.',
    '',
  ].join('\n');
}

function kindOf({ kind, saved }: Described['changes'][number]): string {
  return saved ? `${kind}; executable configuration, in effect only after the merge` : kind;
}

function timeOf(time: Date): string {
  return time.toISOString().slice(0, 16).replace('T', ' ');
}
