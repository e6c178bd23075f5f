import { text } from 'node:stream/consumers';
import t from 'tap';
import { shortenTap } from '../scripts/shorten-tap.ts';

async function shorten(lines: string[]): Promise<string[]> {
  const short = shortenTap();
  short.end(`${lines.join('\n')}\n`);
  return (await text(short)).split('\n').slice(0, -1);
}

t.test('a terminal gets each file, and neither plans nor tests that passed', async (t) => {
  const lines = [
    ...['TAP version 14', '1..2', '# Subtest: test/a.test.ts'],
    ...['    # Subtest: a test', '        ok 1 - it holds', '        1..1', '    ok 1 - a test'],
    ...['    1..1', 'ok 1 - test/a.test.ts # time=9ms', '', '# time=12ms'],
  ];
  t.strictSame(await shorten(lines), ['ok 1 - test/a.test.ts # time=9ms', '# time=12ms']);
});

t.test('a skipped test stays with its reason, at each depth', async (t) => {
  const inner = '    ok 1 - a mount # SKIP it needs the right to mount';
  const deeper = '        ok 2 - a group # SKIP no cgroup of its own';
  const lines = ['# Subtest: x', deeper, inner, '    ok 2 - another test', 'ok 1 - x'];
  t.strictSame(await shorten(lines), [deeper, inner, 'ok 1 - x']);
});

t.test('a failure stays with its details', async (t) => {
  const failure = ['    not ok 1 - it holds', '      ---', '      found: 2', '      ...'];
  const lines = ['# Subtest: x', ...failure, '    ok 2 - another', '    1..2', 'not ok 1 - x'];
  t.strictSame(await shorten(lines), [...failure, 'not ok 1 - x']);
});
