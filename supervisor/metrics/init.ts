/**
 * The metrics about init's run before this start, and about local copies that wait for a person.
 */
import { Gauge, type Registry } from 'prom-client';
import type { InitReportReader, ReportOfInit } from '../boot/init-report.ts';

const changes = [
  ...(['written', 'restored', 'merged', 'removed'] as const),
  ...(['kept', 'conflicts', 'drift', 'skipped'] as const),
];

export type InitSource = Pick<
  InitReportReader,
  'report' | 'gitTokenExpiry' | 'conflicts' | 'refresh'
>;

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
    'When the run of init before this start ended; NaN without a report',
    ({ finished_at }) => Date.parse(finished_at) / 1_000,
  );
  ofReport(
    'berth_init_confirmed_timestamp_seconds',
    'When the git server last confirmed the commit on the volume',
    ({ confirmed_at }) => Date.parse(confirmed_at) / 1_000,
  );
  ofReport(
    'berth_init_continued_on_old_state',
    'Whether init continued without the git server, with the state on the volume',
    ({ remote }) => Number(remote === 'failed'),
  );
  ofReport(
    'berth_init_settings_invalid',
    "Whether the CLI would ignore the repository's settings.json, or guards in it: an earlier file is used, or none",
    ({ settings }) => Number(settings !== undefined),
  );
  ofReport(
    'berth_init_duration_seconds',
    'How long init took',
    ({ duration_ms }) => duration_ms / 1_000,
  );
  new Gauge({
    name: 'berth_init_result',
    help: '1 for the result of init: current (equal to the git server), without_server, unknown (no report)',
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
    help: 'Always 1; the commit on the volume, and the state of the volume that init found',
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
    help: "Files of init's run, by what init did with them",
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
    "When init's git token expires, as reported by GitHub; NaN if unknown",
    () => source.gitTokenExpiry && source.gitTokenExpiry / 1_000,
  );
  gauge(
    'berth_conflicts',
    'Local copies in conflicts/ that were not removed yet, at the previous scrape',
    () => {
      // Not awaited: a volume that hangs must not delay the other metrics.
      void source.refresh();
      return source.conflicts;
    },
  );
}
