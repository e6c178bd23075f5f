import t from 'tap';
import { LimitEnds } from '../../../supervisor/jobs/limit-ends.ts';

t.test('room that a failed checkout makes again and again is reported once in a while', (t) => {
  const clock = { now: 0 };
  const ends = new LimitEnds(() => clock.now);
  const reported: [number, readonly string[]][] = [];
  ends.onEnd((reasons) => reported.push([clock.now, reasons]));
  for (let minute = 0; minute <= 10; minute += 1) {
    clock.now = minute * 60_000;
    ends.reportRoom();
  }
  t.strictSame(reported, [
    [0, ['disk_full']],
    [600_000, ['disk_full']],
  ]);
  t.end();
});
