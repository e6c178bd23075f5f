import fc from 'fast-check';
import t from 'tap';
import { backoff, waitForRound } from '../../shared/backoff.ts';

t.test('each failure doubles the wait, up to the longest', async (t) => {
  const waits = [1, 2, 3, 4, 5, 2_000].map((failures) =>
    backoff(failures, { first: 100, longest: 1_000 }),
  );
  t.same(waits, [100, 200, 400, 800, 1_000, 1_000]);
});

t.test('jitter takes at most its share from a wait', async (t) => {
  const waits = [0, 0.5, 1].map((random) =>
    backoff(2, { first: 100, longest: 1_000, jitter: 0.5 }, () => random),
  );
  t.same(waits, [200, 150, 100]);
});

t.test('a wait is never negative and never longer than the longest', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5_000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (failures, jitter) => {
        const wait = backoff(failures, { first: 250, longest: 30_000, jitter });
        return wait >= 0 && wait <= 30_000;
      },
    ),
  );
});

t.test('without a failure a round waits for the interval, a little spread', async (t) => {
  const after = { first: 100, longest: 1_000 };
  const waits = [0, 0.5, 1].map((random) => waitForRound(0, 200, after, () => random));
  t.same(waits, [190, 200, 210]);
});

t.test(
  'after failures a round waits for at most the interval first, and then longer',
  async (t) => {
    const after = { first: 100, longest: 1_000 };
    const waits = (interval: number) =>
      [1, 2, 9].map((each) => waitForRound(each, interval, after));
    t.same(waits(60), [60, 120, 1_000]);
    t.same(waits(400), [100, 200, 1_000]);
    t.same(waits(3_000), [100, 200, 3_000]);
  },
);
