import t from 'tap';
import { usageLimitIn } from '../../../supervisor/claude/usage-limit.ts';
import { reportsIn, UsageWindows } from '../../../supervisor/spending/usage-windows.ts';

const hour = 3_600_000;
const start = Date.parse('2026-03-02T08:00:00Z');

function clocked() {
  const clock = { now: start };
  return { clock, windows: new UsageWindows(() => clock.now) };
}

/** The windows that a message of the CLI reports. */
function reportsOf(info: object) {
  const limit = usageLimitIn({ rate_limit_info: { status: 'allowed', ...info } });
  return limit && reportsIn(limit);
}

t.test('nothing is known about a login without a report', async (t) => {
  const { windows } = clocked();
  t.equal(windows.of('default'), undefined);
  windows.heard('default', {});
  t.equal(windows.of('default'), undefined, 'an empty report reports nothing');
  t.equal(windows.heardAt('default'), undefined);
});

t.test('a window has its last report, and other windows stay', async (t) => {
  const { clock, windows } = clocked();
  const resetsAt = start + 2 * hour;
  windows.heard('default', {
    five_hour: { used: 0.4, resetsAt },
    seven_day: { used: 0.2, resetsAt: start + 50 * hour },
  });
  clock.now += 60_000;
  windows.heard('default', { five_hour: { used: 0.5, resetsAt } });
  t.match(windows.of('default'), [
    { name: 'five_hour', used: 0.5, resetsAt, heardAt: start + 60_000 },
    { name: 'seven_day', used: 0.2, heardAt: start },
  ]);
  t.equal(windows.heardAt('default'), start + 60_000);
  t.equal(windows.of('profile other'), undefined);
});

t.test('a window that has ended counts as unused until it is reported again', async (t) => {
  const { clock, windows } = clocked();
  windows.heard('default', { five_hour: { used: 0.9, resetsAt: start + hour } });
  clock.now += hour;
  t.match(windows.of('default'), [{ name: 'five_hour', used: 0, resetsAt: undefined }]);
  windows.heard('default', { five_hour: { used: 0.1, resetsAt: clock.now + 5 * hour } });
  t.match(windows.of('default'), [{ used: 0.1 }]);
});

t.test('a report counts no longer than its window, whatever end the report has', async (t) => {
  const { clock, windows } = clocked();
  windows.heard('default', {
    five_hour: { used: 0.9, resetsAt: start + 1_000 * hour },
    seven_day: { used: 0.9, resetsAt: undefined },
  });
  t.match(windows.of('default'), [{ resetsAt: start + 5 * hour }, { resetsAt: undefined }]);
  clock.now += 5 * hour;
  t.match(windows.of('default'), [{ used: 0 }, { used: 0.9 }]);
  clock.now += 163 * hour;
  t.match(windows.of('default'), [{ used: 0 }, { used: 0 }]);
});

t.test('a clock that was set back does not keep a report for ever', async (t) => {
  const { clock, windows } = clocked();
  windows.heard('default', { five_hour: { used: 0.9, resetsAt: start + hour } });
  clock.now -= 100 * hour;
  t.match(windows.of('default'), [{ used: 0 }]);
});

t.test('a replaced login is unknown again', async (t) => {
  const { windows } = clocked();
  windows.heard('default', { five_hour: { used: 0.9, resetsAt: undefined } });
  windows.forget('default');
  t.equal(windows.of('default'), undefined);
  t.same(windows.logins, []);
});

t.test('the message about a limit reports its windows', async (t) => {
  const resetsAt = 1_772_440_000;
  t.same(
    reportsOf({
      unifiedWindows: {
        five_hour: { utilization: 0.25, resetsAt },
        seven_day: { utilization: 0.5 },
        some_new_window: { utilization: 0.7 },
      },
    }),
    {
      five_hour: { used: 0.25, resetsAt: resetsAt * 1_000 },
      seven_day: { used: 0.5, resetsAt: undefined },
    },
  );
  t.same(reportsOf({ rateLimitType: 'seven_day_opus', utilization: 0.8, resetsAt }), {
    seven_day_opus: { used: 0.8, resetsAt: resetsAt * 1_000 },
  });
  t.same(reportsOf({ rateLimitType: 'five_hour' }), {}, 'without a figure nothing is reported');
});

t.test('a window whose limit is reached is used up', async (t) => {
  t.same(reportsOf({ status: 'rejected', rateLimitType: 'five_hour' }), {
    five_hour: { used: 1, resetsAt: undefined },
  });
});

t.test('figures and names that no API reports are left out', async (t) => {
  const bad = { utilization: -1 };
  t.same(reportsOf({ unifiedWindows: { five_hour: bad, seven_day: { utilization: '9' } } }), {});
  const many = Object.fromEntries(
    Array.from({ length: 500 }, (_, index) => [`window_${index}`, { utilization: 1 }]),
  );
  const limit = usageLimitIn({
    rate_limit_info: { status: 'allowed', unifiedWindows: { 'a"b': { utilization: 1 }, ...many } },
  });
  t.equal(Object.keys(limit?.windows ?? {}).length, 16, 'their names become labels of metrics');
  t.notOk(limit?.windows['a"b']);
});
