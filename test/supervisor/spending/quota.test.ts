import t from 'tap';
import { type QuotaUse, quotaRefusal } from '../../../supervisor/spending/quota.ts';
import { UsageWindows, type WindowReports } from '../../../supervisor/spending/usage-windows.ts';

const hour = 3_600_000;
const now = Date.parse('2026-03-02T08:00:00Z');

const automation: QuotaUse = {
  login: 'default',
  profile: 'review',
  quota: { fiveHour: 0.6, sevenDay: 0.8 },
  quotaBackground: {},
  priority: 'normal',
  model: undefined,
};

function refusal(reports: WindowReports, use: Partial<QuotaUse> = {}) {
  const windows = new UsageWindows(() => now);
  windows.heard('default', reports);
  return quotaRefusal(windows, { ...automation, ...use }, now);
}

const used = (share: number, hours = 2) => ({ used: share, resetsAt: now + hours * hour });

t.test(
  'a prompt is refused from its share of a window on, with the end of the window',
  async (t) => {
    t.equal(refusal({ five_hour: used(0.59) }), undefined);
    const error = refusal({ five_hour: used(0.6) });
    t.match(error, {
      code: 'quota_reserved',
      details: { window: 'five_hour', resets_at: '2026-03-02T10:00:00.000Z', retry_after: 7_200 },
    });
    t.match(
      error?.message,
      /60 % of the account's five hour window .* profile review .* up to 60 %/,
    );
    t.match(error?.message, /limits\.quota/, 'the message names the setting');
  },
);

t.test('of two windows, the window that ends last counts', async (t) => {
  const error = refusal({ five_hour: used(0.9), seven_day: used(0.8, 30) });
  t.match(error, { details: { window: 'seven_day', retry_after: 30 * 3_600 } });
});

t.test('a window without a known end has a time for the next try only', async (t) => {
  const error = refusal({ five_hour: { used: 1, resetsAt: undefined } });
  t.match(error, { details: { window: 'five_hour', retry_after: 900 } });
  t.notOk(error && 'resets_at' in error.details);
});

t.test('without a share, or with unknown windows, nothing is refused', async (t) => {
  t.equal(refusal({ five_hour: used(1) }, { quota: {} }), undefined);
  t.equal(refusal({ five_hour: used(1) }, { quota: { sevenDay: 0.8 } }), undefined);
  t.equal(refusal({ five_hour: used(1) }, { login: 'profile other' }), undefined);
});

t.test('after a start, background jobs wait two minutes for the first figures', async (t) => {
  const windows = new UsageWindows(() => now);
  const background = { ...automation, priority: 'background' } as const;
  const after = (seconds: number, use: QuotaUse) =>
    quotaRefusal(windows, use, now + seconds * 1_000);
  t.match(after(0, background), {
    code: 'quota_reserved',
    message: /has just started/,
    details: { retry_after: 30 },
  });
  t.match(after(119, background), { code: 'quota_reserved' });
  t.equal(after(120, background), undefined, 'the figures may stay unknown');
  t.equal(after(-1, background), undefined, 'after the clock was set back');
  t.equal(after(0, automation), undefined, 'other prompts do not wait');
  t.equal(after(0, { ...background, quota: {} }), undefined, 'without a share nothing waits');
  windows.heard('default', { five_hour: used(0.1) });
  t.equal(after(0, background), undefined);
});

t.test('background jobs have the smaller of both shares, other prompts do not', async (t) => {
  const quotaBackground = { fiveHour: 0.3, sevenDay: 0.9 };
  const windows = { five_hour: used(0.4), seven_day: used(0.85) };
  const background = { quotaBackground, priority: 'background' } as const;
  t.equal(refusal({ five_hour: used(0.4) }, { quotaBackground }), undefined);
  t.match(refusal({ five_hour: used(0.4) }, background), { details: { window: 'five_hour' } });
  t.match(refusal(windows, background), { message: /background jobs .* up to 30 %/ });
  t.match(refusal({ seven_day: used(0.85) }, background), { details: { window: 'seven_day' } });
});

t.test('the weekly window of a model counts for prompts that may use the model', async (t) => {
  const reports = { seven_day_opus: used(0.9) };
  for (const model of [undefined, 'opus', 'claude-opus-5-5', 'opus[1m]', 'opusplan', 'my-alias']) {
    t.match(refusal(reports, { model }), { details: { window: 'seven_day_opus' } }, String(model));
  }
  for (const model of ['sonnet', 'claude-sonnet-5-5', 'haiku', 'claude-haiku-5-5']) {
    t.equal(refusal(reports, { model }), undefined, model);
  }
});
