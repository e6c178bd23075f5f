import fc from 'fast-check';
import t from 'tap';
import { mergeText } from '../../../../init/reconcile/merge-text.ts';

const merge = (base: string, local: string, upstream: string) =>
  mergeText(Buffer.from(base), Buffer.from(local), Buffer.from(upstream))?.toString();

t.equal(merge('a\nb\nc\n', 'A\nb\nc\n', 'a\nb\nC\n'), 'A\nb\nC\n', 'changes apart are both taken');
t.equal(merge('a\nb\n', 'a\nX\n', 'a\nX\n'), 'a\nX\n', 'the same change is one change');
t.equal(merge('a\nb\n', 'a\nX\n', 'a\nY\n'), undefined, 'different changes of a line are none');
t.equal(merge('a\r\nb\r\nc', 'a\r\nb\r\nC', 'A\r\nb\r\nc'), 'A\r\nb\r\nC', 'line ends stay');
t.equal(merge('a\nb\n', 'a\nb', 'z\na\nb\n'), 'z\na\nb', 'so does a missing last one');
t.equal(merge('', 'a\n', ''), 'a\n', 'an empty base');
t.equal(merge('a\n', '', 'a\n'), '', 'everything deleted');
t.equal(merge('a\0\n', 'b\0\n', 'a\0\n'), undefined, 'what has a NUL is no text');
t.equal(
  mergeText(Buffer.from('a'), Buffer.from([0xff]), Buffer.from('b')),
  undefined,
  'nor is what is not UTF-8',
);

t.test('a text changed on one side only merges to the text of that side', async (t) => {
  const text = fc
    .array(fc.constantFrom('a\n', 'b\n', '\n', 'constructor\n'))
    .map((all) => all.join(''));
  fc.assert(
    fc.property(text, text, (base, other) => {
      return merge(base, other, base) === other && merge(base, base, other) === other;
    }),
    { seed: 1, numRuns: 500 },
  );
  t.pass();
});

// Compared line by line, these texts would take hours.
t.test('texts that would take hours to compare are not merged', { timeout: 250_000 }, async (t) => {
  const blank = '\n'.repeat(400_000);
  t.equal(merge(`a\n${blank}b\n`, `c\n${blank}\nb\n`, `a\n${blank}d\n`), undefined);
  const unique = (mark: string) =>
    Array.from({ length: 30_000 }, (_, line) => `${line % 2 ? line : `${mark}${line}`}\n`).join('');
  t.doesNotThrow(() => merge(unique('a'), unique('b'), unique('c')));
});
