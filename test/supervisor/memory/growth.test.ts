import t from 'tap';
import { Growth } from '../../../supervisor/memory/growth.ts';

function growthOf(samples: readonly (readonly [at: number, bytes: number])[]): number | undefined {
  const growth = new Growth();
  for (const [at, bytes] of samples) growth.add(at, bytes);
  return growth.rate;
}

t.test('growth is that of the last seconds, and unknown before there is one', (t) => {
  t.equal(growthOf([]), undefined);
  t.equal(growthOf([[0, 100]]), undefined);
  const second = [
    [0, 100],
    [999, 400],
  ] as const;
  t.equal(growthOf(second), undefined);
  t.equal(growthOf([...second, [1_500, 400]]), 200);
  const seconds = Array.from({ length: 20 }, (_, index) => [index * 500, index ** 2] as const);
  t.equal(growthOf(seconds), 62, 'what was minutes ago does not count');
  t.equal(growthOf([...second.map(([at]) => [at, 300] as const), [2_000, 100]]), -100);
  t.end();
});

t.test('after a clock jump or a gap in the readings, the growth is measured anew', (t) => {
  const before = [
    [50_000, 100],
    [52_000, 300],
  ] as const;
  t.equal(growthOf(before), 100);
  t.equal(growthOf([...before, [1_000, 900]]), undefined, 'back');
  t.equal(growthOf([...before, [1_000, 900], [3_000, 1_000]]), 50, 'and on from there');
  t.equal(growthOf([...before, [900_000, 900]]), undefined, 'ahead, or suspended');
  t.equal(growthOf([...before, [900_000, 900], [902_000, 700]]), -100);
  t.end();
});

t.test('two samples of the same time give no growth', (t) => {
  t.equal(
    growthOf([
      [5, 100],
      [5, 900],
    ]),
    undefined,
  );
  t.end();
});
