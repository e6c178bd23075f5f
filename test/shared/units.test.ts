import fc from 'fast-check';
import t from 'tap';
import {
  amount,
  choice,
  duration,
  flag,
  integer,
  listen,
  path,
  sizes,
} from '../../shared/setting-types.ts';
import { formatDuration, formatSize, parseDuration, parseSize } from '../../shared/units.ts';

t.test('durations such as 1h30m are parsed, and other texts are rejected', async (t) => {
  const cases: [string, number | undefined][] = [
    ['250ms', 250],
    ['30s', 30_000],
    ['1.5m', 90_000],
    ['1h30m', 5_400_000],
    ['7d', 604_800_000],
    ['', undefined],
    ['30', undefined],
    ['30 s', undefined],
    ['-1s', undefined],
    ['1h!', undefined],
  ];
  for (const [text, expected] of cases) t.equal(parseDuration(text), expected, text);
});

t.test('sizes are read as Kubernetes does', async (t) => {
  const cases: [string, number | undefined][] = [
    ['4096', 4096],
    ['100M', 100_000_000],
    ['512Mi', 536_870_912],
    ['1.5Gi', 1_610_612_736],
    ['2k', 2_000],
    ['1KB', undefined],
    ['', undefined],
    ['-1', undefined],
  ];
  for (const [text, expected] of cases) t.equal(parseSize(text), expected, text);
});

t.test('a formatted duration is parsed back to the same value', async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10 ** 9 }), (number) => {
      const back = parseDuration(formatDuration(number));
      return back !== undefined && Math.abs(back - number) < 1;
    }),
    { seed: 1 },
  );
  t.equal(formatDuration(120_000), '2m');
  t.equal(formatDuration(90_000), '1.5m');
  t.equal(formatDuration(1_234), '1234ms');
  t.equal(formatSize(536_870_912), '512Mi');
  t.equal(formatSize(1_610_612_736), '1.5Gi');
  t.equal(formatSize(12), '12');
});

t.test('each kind of setting accepts valid values and describes the expected value', async (t) => {
  const read = (
    schema: { safeParse(text: string): { success: boolean; data?: unknown } },
    text: string,
  ) => schema.safeParse(text).data;
  t.equal(read(integer(1, 9), '9'), 9);
  for (const text of ['10', '0', '1.5', 'x', '', '1e0'])
    t.equal(read(integer(1, 9), text), undefined);
  t.equal(read(duration(1, 1_000), '1s'), 1_000);
  t.equal(read(duration(1, 1_000), '2s'), undefined);
  t.equal(read(path, '/a//b/../c'), '/a/c');
  t.equal(read(path, 'a'), undefined);
  t.equal(read(flag, 'true'), true);
  t.equal(read(flag, 'yes'), undefined);
  t.equal(read(choice('a', 'b'), 'b'), 'b');
  t.equal(read(choice('a', 'b'), 'c'), undefined);
  t.strictSame(read(amount, '70%'), { share: 0.7 });
  t.strictSame(read(amount, '1Ki'), { bytes: 1024 });
  for (const text of ['0%', '100%', '0', 'x']) t.equal(read(amount, text), undefined, text);
  t.strictSame(read(listen, ':8080'), { host: '::', port: 8080 });
  t.strictSame(read(listen, '127.0.0.1:0'), { host: '127.0.0.1', port: 0 });
  t.strictSame(read(listen, '[::1]:80'), { host: '::1', port: 80 });
  for (const text of ['8080', ':99999', '::1:80', 'x'])
    t.equal(read(listen, text), undefined, text);
});

t.test('sizes by path are read as they stand in a setting, or refused whole', (t) => {
  t.same(
    sizes.parse('/tmp=1Gi, /a/../b=2M'),
    new Map([
      ['/tmp', 1024 ** 3],
      ['/b', 2_000_000],
    ]),
  );
  for (const wrong of ['', '/tmp', 'tmp=1Gi', '/tmp=', '/tmp=much', '/tmp=0', '/tmp=1Gi,']) {
    t.notOk(sizes.safeParse(wrong).success, wrong);
  }
  t.end();
});
