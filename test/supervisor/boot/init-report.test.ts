import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import t from 'tap';
import type { InitReport } from '../../../init/report.ts';
import { InitReportReader } from '../../../supervisor/boot/init-report.ts';
import type { Status } from '../../../supervisor/http/status.ts';
import { registerInit } from '../../../supervisor/metrics/init.ts';
import { makeSurroundings } from '../../support/claude.ts';
import { testDirectory } from '../../support/directory.ts';
import { startSupervisor } from '../../support/supervisor.ts';
import { until } from '../../support/until.ts';

const report: InitReport = {
  version: 1,
  repository: 'https://github.com/somebody/dot-claude',
  ref: 'main',
  commit: '1'.repeat(40),
  previous_commit: null,
  volume: 'damaged_tree',
  repairs: [],
  remote: 'failed',
  remote_error: { code: 'remote_unavailable', message: 'cannot reach it' },
  confirmed_at: '2026-01-01T00:00:00.000Z',
  age_ms: 86_400_000,
  ...{
    written: 5,
    restored: 4,
    merged: 3,
    removed: 2,
    kept: 1,
    conflicts: 6,
    drift: 7,
    skipped: 8,
  },
  untracked_executable: 0,
  settings: 'kept',
  credentials: { from: 'volume', changed: false },
  owned: 0,
  bytes: 0,
  finished_at: '2026-01-02T00:00:00.000Z',
  duration_ms: 1_500,
  steps: {},
};

/** The metrics after `load`, as a scrape shows them: by name and labels. */
async function scrape(directory: string) {
  const initReport = new InitReportReader(directory);
  await initReport.load();
  const registry = new Registry();
  registerInit(initReport, [registry]);
  const read = async () => {
    const lines = (await registry.metrics()).split('\n').filter((line) => /^berth/.test(line));
    return Object.fromEntries(lines.map((line) => line.split(' ')));
  };
  return { read, metrics: await read() };
}

t.test('the metrics show the report of init', async (t) => {
  const { metrics } = await scrape(testDirectory(t, { 'report.json': JSON.stringify(report) }));
  t.match(metrics, {
    berth_init_last_run_timestamp_seconds: '1767312000',
    berth_init_confirmed_timestamp_seconds: '1767225600',
    berth_init_continued_on_old_state: '1',
    berth_init_settings_invalid: '1',
    berth_init_duration_seconds: '1.5',
    'berth_init_result{result="without_server"}': '1',
    [`berth_init_info{commit="${report.commit}",volume="damaged_tree"}`]: '1',
    'berth_init_files{change="restored"}': '4',
    'berth_init_files{change="skipped"}': '8',
    berth_conflicts: '0',
  });
  const current = JSON.stringify({ ...report, remote: 'current', settings: undefined });
  const after = await scrape(testDirectory(t, { 'report.json': current }));
  t.match(after.metrics, {
    berth_init_continued_on_old_state: '0',
    berth_init_settings_invalid: '0',
    'berth_init_result{result="current"}': '1',
  });
});

t.test('an invalid report counts as unknown, and no part of the report is shown', async (t) => {
  const files: Record<string, string | undefined> = {
    'no report': undefined,
    'half a report': JSON.stringify(report).slice(0, 200),
    'of a newer version': JSON.stringify({ ...report, version: 2 }),
    'no commit': JSON.stringify({ ...report, commit: 'evil"} 1\n' }),
    'no state of a volume': JSON.stringify({ ...report, volume: 'evil\n' }),
    'a count that is none': JSON.stringify({ ...report, written: -1 }),
    'no date': JSON.stringify({ ...report, finished_at: 'today' }),
    'too large': `${JSON.stringify(report)}${' '.repeat(300_000)}`,
  };
  for (const [name, content] of Object.entries(files)) {
    const { metrics } = await scrape(testDirectory(t, content ? { 'report.json': content } : {}));
    t.same(
      metrics,
      {
        berth_init_last_run_timestamp_seconds: 'Nan',
        berth_init_confirmed_timestamp_seconds: 'Nan',
        berth_init_continued_on_old_state: 'Nan',
        berth_init_settings_invalid: 'Nan',
        berth_init_duration_seconds: 'Nan',
        'berth_init_result{result="unknown"}': '1',
        berth_git_token_expiry_timestamp_seconds: 'Nan',
        berth_conflicts: '0',
      },
      name,
    );
  }
});

t.test(
  'the status gets its fields of the report; values that init never writes are dropped',
  async (t) => {
    const read = async (more: object) => {
      const text = JSON.stringify({ ...report, ...more });
      const initReport = new InitReportReader(testDirectory(t, { 'report.json': text }));
      await initReport.load();
      return initReport.report;
    };
    t.match(await read({ cli: 'previous' }), { cli: 'previous', repository: report.repository });
    const planted = await read({ cli: 'evil', problem: 7, repository: 'https://me:secret@host/x' });
    t.match(planted, { commit: report.commit });
    t.same(
      [planted?.cli, planted?.problem, planted?.repository],
      [undefined, undefined, undefined],
    );
  },
);

t.test("the expiry of init's git token comes from its last check of GitHub", async (t) => {
  const end = '2026-02-01T00:00:00.000Z';
  const read = async (look: object) => {
    const files = { 'report.json': JSON.stringify(report), 'github.json': JSON.stringify(look) };
    return (await scrape(testDirectory(t, files))).metrics.berth_git_token_expiry_timestamp_seconds;
  };
  const look = { version: 1, subject: 'a', cut_short: 0, token_expires_at: end };
  t.equal(await read({ ...look, looked_at: '2026-01-01T12:00:00.000Z' }), '1769904000');
  const wrong: Record<string, object> = {
    'left from another repository': { ...look, looked_at: '2025-12-01T00:00:00.000Z' },
    'without an end': { ...look, looked_at: report.finished_at, token_expires_at: undefined },
    'no date': { ...look, looked_at: report.finished_at, token_expires_at: 'soon' },
    'of a newer version': { ...look, looked_at: report.finished_at, version: 2 },
  };
  for (const [name, content] of Object.entries(wrong)) t.equal(await read(content), 'Nan', name);
});

t.test('each local copy that waits is counted until a person has taken it', async (t) => {
  const conflicts = { '20260101T000000Z-init': { 'CLAUDE.md': 'mine', skills: { 'a.md': '' } } };
  const directory = testDirectory(t, { conflicts });
  const { metrics, read } = await scrape(directory);
  t.equal(metrics.berth_conflicts, '2');
  writeFileSync(join(directory, 'conflicts/another'), '');
  await until('it is counted too', async () => (await read()).berth_conflicts === '3');
});

t.test(
  'nothing that is planted in conflicts/ leads the count out of it, or is endless',
  async (t) => {
    const directory = testDirectory(t, {
      outside: { a: '', b: '' },
      state: { conflicts: {} },
      linked: {},
    });
    symlinkSync(join(directory, 'outside'), join(directory, 'state/conflicts/link'));
    symlinkSync(join(directory, 'outside'), join(directory, 'linked/conflicts'));
    t.equal((await scrape(join(directory, 'linked'))).metrics.berth_conflicts, 'Nan');
    const { metrics } = await scrape(join(directory, 'state'));
    t.equal(metrics.berth_conflicts, '1', 'the link itself');

    for (const name of ['b', 'c', 'd', 'e']) {
      writeFileSync(join(directory, `state/conflicts/${name}`), '');
    }
    const bounded = new InitReportReader(join(directory, 'state'), 3);
    await bounded.refresh();
    t.equal(bounded.conflicts, 3);
  },
);

t.test('the status and the metrics of a server show the report and an older CLI', async (t) => {
  const surroundings = await makeSurroundings(t);
  mkdirSync(join(surroundings.config, '.berth'));
  const problem = 'the CLI reads nothing\u001b[2J; set BERTH_REPO_PATH=.claude';
  const text = JSON.stringify({ ...report, cli: 'previous', problem });
  writeFileSync(join(surroundings.config, '.berth/report.json'), text);
  const { call, metricsUrl } = await startSupervisor(t, { surroundings });
  const { body } = (await call('GET', '/v1/status')) as { body: Status };
  t.match(body.configuration, {
    repository: report.repository,
    commit: report.commit,
    state: 'stale',
    problem: 'the CLI reads nothing\\u001b[2J; set BERTH_REPO_PATH=.claude',
    confirmed_at: report.confirmed_at,
    applied_at: report.finished_at,
    settings: 'kept',
  });
  const age = Math.round((Date.now() - Date.parse(report.confirmed_at)) / 1_000);
  t.ok(Math.abs((body.configuration?.age_s ?? 0) - age) < 60);
  const metrics = await (await fetch(`${metricsUrl}/metrics`)).text();
  t.match(metrics, /^berth_cli_fallback\{reason="not_installed"\} 1$/m);
  t.match(metrics, /^berth_cli_fallback\{reason="set_back"\} 0$/m);
  t.match(metrics, /^berth_profiles_refused 0$/m);
});
