/** The metrics of what init did before this start, and of what waits for a person since. */
import { Gauge, type Registry } from 'prom-client';
import type { InitOutcome, ReportOfInit } from '../boot/init-report.ts';

const changes = [
  ...(['written', 'restored', 'merged', 'removed'] as const),
  ...(['kept', 'conflicts', 'drift', 'skipped'] as const),
];

export type InitSource = Pick<InitOutcome, 'report' | 'gitTokenExpiry' | 'conflicts' | 'look'>;

export function registerInit(source: InitSource, registers: Registry[]): void {
  const gauge = (name: string, help: string, value: () => number | undefined): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value() ?? Number.NaN);
      },
    });
  };
  const ofReport = (name: string, help: string, value: (report: ReportOfInit) => number): void =>
    gauge(name, help, () => source.report && value(source.report));
  ofReport(
    'berth_init_last_run_timestamp_seconds',
    'When the run of init before this start ended; NaN if it has left no report',
    ({ finished_at }) => Date.parse(finished_at) / 1_000,
  );
  ofReport(
    'berth_init_confirmed_timestamp_seconds',
    'When the git server last confirmed the commit that is on the volume',
    ({ confirmed_at }) => Date.parse(confirmed_at) / 1_000,
  );
  ofReport(
    'berth_init_continued_on_old_state',
    'Whether init went on without the git server, with what was on the volume',
    ({ remote }) => Number(remote === 'failed'),
  );
  ofReport(
    'berth_init_settings_invalid',
    "Whether the CLI would ignore the repository's settings.json, or guards in it: an earlier one is used, or none",
    ({ settings }) => Number(settings !== undefined),
  );
  ofReport(
    'berth_init_duration_seconds',
    'How long init took',
    ({ duration_ms }) => duration_ms / 1_000,
  );
  new Gauge({
    name: 'berth_init_result',
    help: '1 for how init ended: current (as the git server has it), without_server, unknown (no report)',
    labelNames: ['result'],
    registers,
    collect() {
      this.reset();
      const { report } = source;
      const result = report?.remote === 'failed' ? 'without_server' : 'current';
      this.set({ result: report ? result : 'unknown' }, 1);
    },
  });
  new Gauge({
    name: 'berth_init_info',
    help: 'Always 1; the commit on the volume, and how init has found the volume',
    labelNames: ['commit', 'volume'],
    registers,
    collect() {
      this.reset();
      if (source.report) {
        const { commit, volume } = source.report;
        this.set({ commit, volume }, 1);
      }
    },
  });
  new Gauge({
    name: 'berth_init_files',
    help: 'Files of the run of init, by what became of them',
    labelNames: ['change'],
    registers,
    collect() {
      this.reset();
      for (const change of source.report ? changes : []) {
        this.set({ change }, source.report?.[change] ?? 0);
      }
    },
  });
  gauge(
    'berth_git_token_expiry_timestamp_seconds',
    "When init's git token ends, as GitHub has told it; NaN if it has not",
    () => source.gitTokenExpiry && source.gitTokenExpiry / 1_000,
  );
  gauge(
    'berth_conflicts',
    'Local copies in conflicts/ that nobody has taken or removed, at the scrape before',
    () => {
      // Not waited for: a volume that hangs must not hold up the other metrics.
      void source.look();
      return source.conflicts;
    },
  );
}
