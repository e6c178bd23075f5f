import t from 'tap';
import { HostSlots } from '../../../../supervisor/jobs/callbacks/host-slots.ts';

t.test('a busy host gives times, and another host a slot', (t) => {
  const slots = new HostSlots(2);
  const [first, second] = [slots.take('slow', 0), slots.take('slow', 0)];
  t.type(first, 'function');
  t.type(second, 'function');
  t.equal(slots.take('slow', 0), 100);
  t.type(slots.take('other', 0), 'function');
  if (typeof first === 'function') first(10);
  t.type(slots.take('slow', 10), 'function');
  t.type(slots.take('slow', 10), 'number');
  t.end();
});

t.test('the times are as far apart as the host is slow, five minutes at most', (t) => {
  const slots = new HostSlots(2);
  slots.take('slow', 0);
  slots.take('slow', 0);
  // Both requests have run for ten seconds: one of two slots is free every five seconds.
  t.same(
    [1, 2, 3].map(() => slots.take('slow', 10_000)),
    [5_000, 10_000, 15_000],
  );
  const far = Array.from({ length: 100 }, () => slots.take('slow', 10_000));
  t.equal(far.at(-1), 300_000);
  t.end();
});

t.test('hosts without a request are forgotten once there are many', (t) => {
  const slots = new HostSlots(1);
  for (let host = 0; host < 1_000; host++) {
    const slot = slots.take(String(host), 0);
    if (typeof slot === 'function') slot(1);
  }
  const again = slots.take('999', 1);
  t.type(again, 'function');
  t.end();
});
