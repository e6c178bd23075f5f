import { Readable } from 'node:stream';
import t from 'tap';
import { CliChild } from '../../../supervisor/claude/child.ts';
import { splitLines } from '../../../supervisor/claude/split-lines.ts';

async function linesOf(chunks: Uint8Array[], longest = 1_000_000): Promise<string[]> {
  const read = (line: string) => (line === 'left out' ? undefined : line);
  return Readable.from(chunks).pipe(splitLines({ read, longest })).toArray();
}

t.test('lines are the same however the bytes arrive', async (t) => {
  const text = 'one\n\nzwölf 🎉\nleft out\r\nleft out\nthe last has no end';
  const expected = ['one', '', 'zwölf 🎉', 'left out\r', 'the last has no end'];
  for (const size of [1, 2, 3, 7, 1_000]) {
    const bytes = Buffer.from(text);
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.subarray(index * size, (index + 1) * size),
    );
    t.strictSame(await linesOf(chunks), expected, `${size} bytes a chunk`);
  }
  t.strictSame(await linesOf([]), []);
  t.strictSame(await linesOf([Buffer.from('an end\n')]), ['an end']);
});

t.test('a line that is too long is an error, also before its end', async (t) => {
  const [fits, long] = [Buffer.alloc(10, 'a'), Buffer.alloc(6, 'b')];
  t.strictSame(await linesOf([fits, Buffer.from('\n'), fits], 10), ['aaaaaaaaaa', 'aaaaaaaaaa']);
  const reader = splitLines({ read: (line) => line, longest: 10 });
  const failed = new Promise((resolve) => reader.once('error', resolve));
  reader.write(long);
  reader.write(long);
  t.match(await failed, { message: 'a line is longer than 10 bytes' });
});

t.test('a line of many chunks is read in time in proportion to its length', async (t) => {
  const chunk = Buffer.alloc(4_096, 'x');
  const chunks = (count: number) => Array.from({ length: count }, () => chunk);
  let scanned = 0;
  const counted = chunks(2_000).map((one) => {
    const copy = Buffer.from(one);
    copy.indexOf = () => {
      scanned += 1;
      return one.indexOf('\n');
    };
    return copy;
  });
  const [line] = await linesOf(counted, 10_000_000);
  t.equal(line?.length, 2_000 * 4_096);
  t.equal(scanned, 2_000, 'each chunk is scanned once');
});

t.test('an exception of a listener is reported and is not an output error', async (t) => {
  const failures: unknown[] = [];
  const child = new CliChild({
    ...{ path: process.execPath, arguments: ['-e', 'console.log("one\\ntwo")'] },
    ...{ environment: {}, workingDirectory: '/', read: (line) => line, onEnd: () => {} },
    onMessage: (message) => {
      throw new RangeError(message);
    },
    onFailure: (error) => failures.push(error),
    onLongLine: () => t.fail('no line is too long'),
  });
  await child.ended;
  t.match(failures, [{ message: 'one' }, { message: 'two' }]);
});
