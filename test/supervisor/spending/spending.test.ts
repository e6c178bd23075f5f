import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { SpendingLedger } from '../../../supervisor/spending/spending.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';
import { until } from '../../support/until.ts';

const noon = Date.parse('2026-03-01T12:00:00Z');
const hour = 3_600_000;

/** A ledger on `directory` whose clock the test sets. */
async function open(
  t: Test,
  directory: string,
  more: { recover?: { token: string; usd: number }[]; writeEvery?: number; at?: number } = {},
) {
  const log = captureLog();
  const clock = { now: more.at ?? noon, elapsed: 0 };
  const ledger = new SpendingLedger({
    stateDirectory: directory,
    log: log.log,
    recover: async () => more.recover ?? [],
    now: () => clock.now,
    elapsed: () => clock.elapsed,
    writeEvery: more.writeEvery ?? 1,
  });
  await ledger.load();
  t.teardown(() => ledger.flush());
  return { ledger, clock, log };
}

/** Torn down after what the test opens on it. */
function place(t: Test, files: Record<string, string> = {}): string {
  return testDirectory(t, files);
}

const contentOf = (directory: string) =>
  JSON.parse(readFileSync(join(directory, 'spending.json'), 'utf8'));

t.test('each budget is checked by itself, and the error names it and when it ends', async (t) => {
  const { ledger } = await open(t, place(t));
  ledger.add('n8n', 'review', 2);
  ledger.add('home', 'docs', 3);
  const cases = [
    [
      { token: 2 },
      'token',
      /daily budget of the token n8n is used up \(\$2\.00 of \$2\.00\); wait/,
    ],
    [{ profile: 1.5 }, 'profile', /of the profile review is used up \(\$2\.00 of \$1\.50\)/],
    [{ deployment: 5 }, 'deployment', /of this deployment .*\$5\.00.* BERTH_DAILY_BUDGET_USD$/],
  ] as const;
  for (const [limits, budget, message] of cases) {
    t.throws(
      () => ledger.check('n8n', 'review', limits),
      {
        code: 'budget_exceeded',
        status: 429,
        retryable: true,
        message,
        details: { budget, resets_at: '2026-03-02T00:00:00.000Z', retry_after: 12 * 3_600 },
      },
      budget,
    );
  }
  ledger.check('n8n', 'review', {});
  ledger.check('n8n', 'review', { token: 2.01, profile: 2.01, deployment: 5.01 });
  ledger.check('new', 'new', { token: 0.01, profile: 0.01 });
  t.throws(() => ledger.check('new', 'new', { token: 0 }), /\$0\.00 of \$0\.00/);
});

t.test('the spending survives a restart, and the next day starts at 0', async (t) => {
  const directory = place(t);
  const first = await open(t, directory);
  first.ledger.add('n8n', 'review', 1.25);
  first.ledger.add('n8n', 'docs', 0.5);
  await first.ledger.flush();
  t.equal(statSync(join(directory, 'spending.json')).mode & 0o777, 0o600);
  const { ledger, clock } = await open(t, directory);
  t.match(ledger.spent, {
    day: '2026-03-01',
    total_usd: 1.75,
    tokens: { n8n: 1.75 },
    profiles: { review: 1.25, docs: 0.5 },
  });
  clock.now = Date.parse('2026-03-01T23:59:59.999Z');
  t.throws(() => ledger.check('n8n', 'x', { token: 1 }), {
    code: 'budget_exceeded',
    details: { retry_after: 1 },
  });
  clock.now += 1;
  ledger.check('n8n', 'x', { token: 1 });
  t.same(ledger.spent, { version: 1, day: '2026-03-02', total_usd: 0, tokens: {}, profiles: {} });
  const later = await open(t, directory, { at: noon + 24 * hour });
  t.equal(later.ledger.spent.total_usd, 0, "yesterday's file counts for nothing");
});

t.test(
  'a clock set back gives no new budget; a clock once ahead does not block forever',
  async (t) => {
    const directory = place(t);
    const { ledger, clock } = await open(t, directory);
    ledger.add('n8n', 'x', 2);
    clock.now -= 48 * hour;
    t.throws(() => ledger.check('n8n', 'x', { token: 2 }), { code: 'budget_exceeded' });
    t.equal(ledger.resetsAt, '2026-02-28T00:00:00.000Z', 'by the clock as it is now');
    clock.now = Date.parse('2099-01-01T00:00:00Z');
    ledger.add('n8n', 'x', 3);
    await ledger.flush();
    const { ledger: again, clock: right } = await open(t, directory);
    t.equal(again.spent.total_usd, 3);
    right.now += 12 * hour;
    right.elapsed += 12 * hour;
    t.equal(again.spent.total_usd, 0, 'the next day comes');
  },
);

t.test('a clock that is set back and then right again gives no budget again', async (t) => {
  const directory = place(t);
  const { ledger, clock } = await open(t, directory);
  const usedUp = { code: 'budget_exceeded' };
  ledger.add('n8n', 'x', 2);
  clock.now -= 72 * hour;
  clock.elapsed += 60_000;
  t.throws(() => ledger.check('n8n', 'x', { token: 2 }), usedUp);
  await ledger.flush();
  const after = await open(t, directory, { at: clock.now });
  for (const each of [{ ledger, clock }, after]) {
    t.throws(() => each.ledger.check('n8n', 'x', { token: 2 }), usedUp);
    each.clock.now = noon + 60_000;
    each.clock.elapsed += 60_000;
    t.throws(() => each.ledger.check('n8n', 'x', { token: 2 }), usedUp, 'it is the same day');
    each.clock.now += 24 * hour;
    each.clock.elapsed += 24 * hour;
    each.ledger.check('n8n', 'x', { token: 2 });
  }
});

t.test('an invalid amount is not counted', async (t) => {
  const { ledger } = await open(t, place(t));
  for (const usd of [Number.NaN, -1, 0, Number.POSITIVE_INFINITY]) ledger.add('n8n', 'x', usd);
  t.equal(ledger.spent.total_usd, 0);
});

t.test('a thousand turns are one or two writes, and none is forgotten at the end', async (t) => {
  const directory = place(t);
  const { ledger } = await open(t, directory, { writeEvery: hour });
  for (let turn = 0; turn < 500; turn++) ledger.add('n8n', 'x', 1);
  await until('the first is written', () => readdirSync(directory).includes('spending.json'));
  for (let turn = 0; turn < 500; turn++) ledger.add('n8n', 'x', 1);
  const { ino } = statSync(join(directory, 'spending.json'));
  t.equal(contentOf(directory).total_usd, 1, 'the first at once, the rest not yet');
  t.equal(statSync(join(directory, 'spending.json')).ino, ino);
  await ledger.flush();
  t.equal(contentOf(directory).total_usd, 1_000);
});

t.test('later spending is written after a delay', async (t) => {
  const directory = place(t);
  const { ledger } = await open(t, directory, { writeEvery: 5 });
  ledger.add('n8n', 'x', 1);
  ledger.add('n8n', 'x', 1);
  await until('both are there', () => {
    try {
      return contentOf(directory).total_usd === 2;
    } catch {
      return false;
    }
  });
});

const damages: Record<string, string> = {
  'half a file': '{"version":1,"day":"2026-03-01","total_usd":',
  nothing: '',
  'NUL bytes': '\0'.repeat(100),
  'a negative sum': '{"version":1,"day":"2026-03-01","total_usd":-9,"tokens":{},"profiles":{}}',
  'a text for a sum': '{"version":1,"day":"2026-03-01","total_usd":"9","tokens":{},"profiles":{}}',
  'no day': '{"version":1,"day":"2026-13-77","total_usd":9,"tokens":{},"profiles":{}}',
  'more than 1 MiB': `{"version":1,"x":"${'x'.repeat(1024 ** 2)}"}`,
};

for (const [what, content] of Object.entries(damages)) {
  t.test(
    `a file with ${what} is set aside, and the spending is restored from the sessions`,
    async (t) => {
      const directory = place(t, { 'spending.json': content });
      const recover = [
        { token: 'n8n', usd: 1 },
        { token: 'n8n', usd: 0.5 },
        { token: 'home', usd: 2 },
      ];
      const { ledger, log } = await open(t, directory, { recover });
      t.match(ledger.spent, { total_usd: 3.5, tokens: { n8n: 1.5, home: 2 } });
      const [line] = log.lines;
      t.match(line, { level: 'error', event: 'spending_unreadable', msg: /damaged: .*\$3\.50/ });
      t.equal(readFileSync(String(line?.saved), 'utf8'), content, 'it is kept');
      await ledger.flush();
      t.equal(contentOf(directory).total_usd, 3.5);
    },
  );
}

t.test('a link in the place of the file is neither followed nor written through', async (t) => {
  const elsewhere = join(place(t, { target: 'not ours' }), 'target');
  const directory = join(elsewhere, '..', 'state');
  mkdirSync(directory);
  symlinkSync(elsewhere, join(directory, 'spending.json'));
  const { ledger } = await open(t, directory);
  ledger.add('n8n', 'x', 1);
  await ledger.flush();
  t.equal(contentOf(directory).total_usd, 1);
  t.equal(readFileSync(elsewhere, 'utf8'), 'not ours');
});

t.test('the file of a newer version is left as it is', async (t) => {
  const content = '{"version":2,"days":{}}';
  const directory = place(t, { 'spending.json': content });
  const { ledger, log } = await open(t, directory);
  t.match(log.lines, [{ level: 'error', event: 'spending_unreadable', msg: /a newer berth/ }]);
  ledger.add('n8n', 'x', 1);
  await ledger.flush();
  t.equal(readFileSync(join(directory, 'spending.json'), 'utf8'), content);
  t.throws(() => ledger.check('n8n', 'x', { token: 1 }), { code: 'budget_exceeded' });
});

t.test('an unwritable volume is logged once, and the budgets still apply', async (t) => {
  const directory = join(place(t, { state: 'a file where the directory should be' }), 'state');
  const { ledger, log } = await open(t, directory);
  for (let turn = 0; turn < 5; turn++) {
    ledger.add('n8n', 'x', 1);
    await ledger.flush();
  }
  t.equal(log.count('spending_unrecorded'), 1);
  t.throws(() => ledger.check('n8n', 'x', { token: 5 }), { code: 'budget_exceeded' });
});

t.test('a write that has begun before the loss of the volume leaves nothing there', async (t) => {
  const directory = place(t);
  const { ledger, log } = await open(t, directory);
  ledger.add('n8n', 'review', 0.5);
  ledger.abandon();
  await ledger.flush();
  t.same(readdirSync(directory), []);
  t.same(log.lines, []);
});
