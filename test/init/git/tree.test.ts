import t from 'tap';
import { objectId } from '../../../init/git/pack-format.ts';
import { proves, readTree, type Tree, type TreeEntry } from '../../../init/git/tree.ts';

const blob = (text: string) => objectId('blob', Buffer.from(text));

/** Objects made by hand, as a git directory would have them. */
function makeObjects() {
  const objects = new Map<string, { type: string; content: Buffer }>();
  const put = (type: string, content: Buffer) => {
    const oid = objectId(type, content);
    objects.set(oid, { type, content });
    return oid;
  };
  const tree = (rows: [string, string, string][]) =>
    put(
      'tree',
      Buffer.concat(
        rows.flatMap(([mode, name, oid]) => [
          Buffer.from(`${mode} ${name}\0`),
          Buffer.from(oid, 'hex'),
        ]),
      ),
    );
  const commit = (root: string) => {
    const text = Buffer.from(`tree ${root}\nauthor a <a> 0 +0000\n\nmessage\n`);
    return { id: put('commit', text), text };
  };
  const read = async (oid: string) => {
    const object = objects.get(oid);
    if (!object) throw new Error(`no object ${oid}`);
    return object;
  };
  return { tree, commit, read };
}

t.test('a tree is read flat and proves itself against its commit', async (t) => {
  const { tree, commit, read } = makeObjects();
  // git's order: `a.md` < `a/` < `a0`, for directories sort as if they ended in a slash.
  const inner = tree([['100755', 'x.sh', blob('x')]]);
  const root = tree([
    ['100644', 'a.md', blob('1')],
    ['40000', 'a', inner],
    ['120000', 'a0', blob('a.md')],
    ['160000', 'sub', '1'.repeat(40)],
  ]);
  const { id, text } = commit(root);
  const found = await readTree(text, read);
  t.strictSame(
    [...found],
    [
      ['a.md', { mode: '100644', oid: blob('1') }],
      ['a/x.sh', { mode: '100755', oid: blob('x') }],
      ['a0', { mode: '120000', oid: blob('a.md') }],
      ['sub', { mode: '160000', oid: '1'.repeat(40) }],
    ],
  );
  t.ok(proves(id, text, found));
  t.ok(proves(id, text, new Map([...found].reverse())), 'whatever the order');
});

t.test('any change of a record is found', async (t) => {
  const { tree, commit, read } = makeObjects();
  const root = tree([
    ['100644', 'a', blob('1')],
    ['100644', 'b', blob('2')],
  ]);
  const { id, text } = commit(root);
  const found = await readTree(text, read);
  const changed = (change: (tree: Tree) => void): Tree => {
    const copy: Tree = new Map(
      [...found].map(([path, entry]): [string, TreeEntry] => [path, { ...entry }]),
    );
    change(copy);
    return copy;
  };
  t.notOk(
    proves(
      id,
      text,
      changed((copy) => copy.delete('a')),
    ),
  );
  t.notOk(
    proves(
      id,
      text,
      changed((copy) => copy.set('c', { mode: '100644', oid: blob('1') })),
    ),
  );
  t.notOk(
    proves(
      id,
      text,
      changed((copy) => copy.set('a', { mode: '100755', oid: blob('1') })),
    ),
  );
  t.notOk(
    proves(
      id,
      text,
      changed((copy) => copy.set('a', { mode: '100644', oid: blob('x') })),
    ),
  );
  t.notOk(proves(id, Buffer.concat([text, Buffer.from('x')]), found));
  t.notOk(proves('0'.repeat(40), text, found));
});

t.test('a torn tree and a wrong type are errors', async (t) => {
  const { tree, commit, read } = makeObjects();
  const torn = commit(tree([['100644', 'a', 'abcd']]));
  await t.rejects(readTree(torn.text, read), { message: /torn/ });
  const wrong = commit(commit(tree([])).id);
  await t.rejects(readTree(wrong.text, read), { message: /is a commit instead of a tree/ });
});

t.test('a repository above the limits of berth is refused, not reported as damaged', async (t) => {
  const { tree, commit, read } = makeObjects();
  let deep = tree([['100644', 'a', blob('1')]]);
  for (let depth = 0; depth < 70; depth++) deep = tree([['40000', 'd', deep]]);
  await t.rejects(readTree(commit(deep).text, read), {
    code: 'remote_refused',
    message: /more than 64 levels deep/,
  });
  const names = Array.from({ length: 100_001 }, (_, index) => String(index).padStart(6, '0'));
  const many = tree(names.map((name) => ['100644', name, blob('1')]));
  await t.rejects(readTree(commit(many).text, read), {
    code: 'remote_refused',
    message: /more than 100,000 files/,
  });
  let empty = tree([]);
  for (let depth = 0; depth < 40; depth++) {
    empty = tree([
      ['40000', 'a', empty],
      ['40000', 'b', empty],
    ]);
  }
  await t.rejects(readTree(commit(empty).text, read), {
    code: 'remote_refused',
    message: /more than 100,000 files and directories/,
  });
});
