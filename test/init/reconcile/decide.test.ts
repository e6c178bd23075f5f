import fc from 'fast-check';
import t from 'tap';
import type { TreeEntry } from '../../../init/git/tree.ts';
import { type Action, decide } from '../../../init/reconcile/decide.ts';
import type { Local } from '../../../init/reconcile/local-file.ts';
import type { FoundEntry } from '../../../init/volume/record.ts';

const entry = (oid: string, mode: TreeEntry['mode'] = '100644'): TreeEntry => ({ oid, mode });
const file = (oid: string, damaged = false, size = 3): Local => ({
  kind: 'file',
  oid,
  executable: false,
  damaged,
  status: { size, mtime: 0, inode: 1 },
});
const missing: Local = { kind: 'missing' };

interface Case {
  name: string;
  local: Local;
  want?: TreeEntry;
  applied?: TreeEntry;
  pending?: TreeEntry & { merged?: string };
  found?: FoundEntry;
  executable?: boolean;
  localChanges?: 'discard';
  does: string;
}

const cases: Case[] = [
  { name: 'what is as wanted stays', local: file('a'), want: entry('a'), does: 'nothing' },
  { name: 'a new path is written', local: missing, want: entry('a'), does: 'write new' },
  {
    name: "berth's own content is replaced",
    local: file('a'),
    applied: entry('a'),
    want: entry('b'),
    does: 'write updated',
  },
  {
    name: 'the content of a run that was cut short is replaced',
    local: file('b'),
    applied: entry('a'),
    pending: entry('b'),
    want: entry('c'),
    does: 'write updated',
  },
  {
    name: 'a missing file is restored',
    local: missing,
    applied: entry('a'),
    want: entry('a'),
    does: 'write restored',
  },
  {
    name: 'a directory in the place of a file makes way',
    local: { kind: 'directory' },
    applied: entry('a'),
    want: entry('a'),
    does: 'write restored',
  },
  {
    name: 'an emptied file has nothing to save',
    local: file('e', true, 0),
    applied: entry('a'),
    want: entry('a'),
    does: 'write restored',
  },
  {
    name: 'a file that upstream made empty is no damage',
    local: file('e', true, 0),
    want: entry('e'),
    does: 'nothing',
  },
  {
    name: 'an edit stays',
    local: file('x'),
    applied: entry('a'),
    want: entry('a'),
    does: 'keep',
  },
  {
    name: 'an edit stays under the mode that upstream has given the file since',
    local: file('x'),
    applied: entry('a'),
    want: entry('a', '100755'),
    does: 'keep mode',
  },
  {
    name: 'an edit of executable configuration does not',
    local: file('x'),
    applied: entry('a'),
    want: entry('a'),
    executable: true,
    does: 'write drift save',
  },
  {
    name: 'where both changed, they are merged against what the edit was made from',
    local: file('x'),
    applied: entry('a'),
    want: entry('b'),
    does: 'merge a',
  },
  {
    name: 'what is too large to merge gives way',
    local: file('x', false, 1024 * 1024 + 1),
    applied: entry('a'),
    want: entry('b'),
    does: 'write conflict save',
  },
  {
    name: 'edits do not stay where the operator does not want them',
    local: file('x'),
    applied: entry('a'),
    want: entry('a'),
    localChanges: 'discard',
    does: 'write discarded save',
  },
  {
    name: 'a merged text was made from what upstream had then',
    local: file('m'),
    applied: entry('a'),
    pending: { ...entry('b'), merged: 'm' },
    want: entry('c'),
    does: 'merge b',
  },
  {
    name: 'a merged text is an edit that stays',
    local: file('m'),
    applied: entry('a'),
    pending: { ...entry('b'), merged: 'm' },
    want: entry('b'),
    does: 'keep',
  },
  {
    name: 'what two runs ago was about to be there is no edit',
    local: file('b'),
    applied: entry('a'),
    pending: entry('c'),
    found: { mode: '100644', oid: 'b', base: 'b' },
    want: entry('a'),
    does: 'write updated',
  },
  {
    name: 'an edit of what two runs ago was about to be there has that as its base',
    local: file('x'),
    applied: entry('a'),
    pending: entry('c'),
    found: { mode: '100644', oid: 'x', base: 'b' },
    want: entry('c'),
    does: 'merge b',
  },
  {
    name: 'a file in the place of a symlink is damage',
    local: file('x'),
    applied: entry('a', '120000'),
    want: entry('a', '120000'),
    does: 'write restored save',
  },
  {
    name: 'content of unknown origin is saved',
    local: file('x'),
    want: entry('a'),
    does: 'write conflict save',
  },
  {
    name: 'what upstream deleted goes',
    local: file('a'),
    applied: entry('a'),
    does: 'remove updated',
  },
  {
    name: 'an edit of what upstream deleted is saved',
    local: file('x'),
    applied: entry('a'),
    does: 'remove conflict save',
  },
  { name: 'what berth never wrote stays', local: file('x'), does: 'nothing' },
  {
    name: 'a symlink is not a file of the same content',
    local: { kind: 'symlink', oid: 'a' },
    applied: entry('a'),
    want: entry('a'),
    does: 'write restored save',
  },
  {
    name: 'a symlink as wanted stays',
    local: { kind: 'symlink', oid: 'a' },
    want: entry('a', '120000'),
    does: 'nothing',
  },
  {
    name: 'only the executable bit differs',
    local: file('a'),
    want: entry('a', '100755'),
    does: 'mode',
  },
];

const shown = (action: Action): string =>
  [
    action.kind,
    ...('reason' in action ? [action.reason] : []),
    ...('base' in action ? [action.base] : []),
    ...('save' in action && action.save ? ['save'] : []),
    ...('mode' in action ? ['mode'] : []),
  ].join(' ');

for (const { name, does, want, applied, pending, executable = false, ...rest } of cases) {
  t.equal(shown(decide({ want, applied, pending, executable, ...rest })), does, name);
}

t.test('the decision never loses content that is not from berth', async (t) => {
  const oid = fc.constantFrom('a', 'b', 'c', 'x');
  const maybe = fc.option(
    oid.map((id) => entry(id)),
    { nil: undefined },
  );
  fc.assert(
    fc.property(
      oid,
      maybe,
      maybe,
      maybe,
      fc.boolean(),
      (id, want, applied, pending, executable) => {
        const action = decide({ local: file(id), want, applied, pending, executable });
        const ours = [want, applied, pending].some((one) => one?.oid === id);
        const destroys = action.kind === 'write' || action.kind === 'remove';
        if (executable && (action.kind === 'keep' || action.kind === 'merge')) return false;
        return ours || !destroys || action.save;
      },
    ),
    { seed: 1 },
  );
  t.pass();
});
