import t from 'tap';
import { isDeeperThan } from '../../shared/json-depth.ts';

t.test('levels of lists and objects are counted, values that hold nothing are not', async (t) => {
  const cases: [value: unknown, levels: number][] = [
    ['text', 0],
    [null, 0],
    [['a', 1], 1],
    [{ a: [] }, 2],
    [{ a: { b: [{ c: null }] }, d: [] }, 4],
  ];
  for (const [value, levels] of cases) {
    t.notOk(isDeeperThan(value, levels), JSON.stringify(value));
    if (levels > 0) t.ok(isDeeperThan(value, levels - 1), JSON.stringify(value));
  }
});

t.test('a value with a hundred thousand levels is measured', async (t) => {
  let value: unknown = 'deep inside';
  for (let level = 0; level < 100_000; level++) value = [value];
  t.ok(isDeeperThan(value, 99_999));
  t.notOk(isDeeperThan(value, 100_000));
});
