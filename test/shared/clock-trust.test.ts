import t from 'tap';
import { ClockTrust } from '../../shared/clock-trust.ts';

const hour = 3_600_000;

t.test('a clock that is wrong at the start, and set within an hour, is not trusted', (t) => {
  let [now, elapsed] = [Date.parse('2027-06-01'), 7];
  const steps: number[] = [];
  const clock = new ClockTrust({
    now: () => now,
    elapsed: () => elapsed,
    onStep: (step) => steps.push(step),
  });
  const later = (milliseconds: number): boolean => {
    now += milliseconds;
    elapsed += milliseconds;
    return clock.check();
  };
  t.equal(clock.check(), false);
  t.equal(later(hour / 2), false);
  now -= 365 * 24 * hour;
  t.equal(clock.check(), false);
  t.same(steps, [365 * 24 * hour]);
  t.equal(later(23 * hour), false);
  t.equal(later(hour), true);
  t.end();
});

t.test('a clock that is right at the start is trusted after an hour', (t) => {
  let elapsed = 7;
  const clock = new ClockTrust({
    now: () => elapsed,
    elapsed: () => elapsed,
    onStep: () => t.fail(),
  });
  elapsed += hour - 1;
  t.equal(clock.check(), false);
  elapsed += 1;
  t.equal(clock.check(), true);
  t.end();
});
