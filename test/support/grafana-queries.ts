/**
 * What Grafana asks Prometheus when it shows a dashboard, from the dashboard's JSON alone: its variables
 * filled with what was chosen, `$__interval`, `$__rate_interval` and `$__range` with what follows from the
 * shown time, and the legends written out.
 */
import type { Prometheus, Series, Span } from './prometheus.ts';

export interface DashboardTarget {
  refId: string;
  expr: string;
  legendFormat: string;
  /** What Grafana calls the min step. */
  interval?: string;
}

export interface DashboardPanel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  /** What Grafana calls the min interval. */
  interval?: string;
  targets?: DashboardTarget[];
}

export interface DashboardJson {
  panels: DashboardPanel[];
  templating: { list: { name: string; type: string; query?: string; allValue?: string }[] };
}

export interface Shown extends Omit<Span, 'step'> {
  /** How many times faster than the dashboard expects all goes: its intervals are so much shorter. */
  pace: number;
  /** Points of a curve at most: the width of its panel. */
  points?: number;
}

/** One query of a panel, as it was asked, and what came. */
export interface AskedTarget {
  panel: DashboardPanel;
  target: DashboardTarget;
  expr: string;
  span: Span;
  series: Series[];
}

/** Runs the queries of the variables. @returns the values of each, which stand for `All` too */
export async function fillVariables(
  prometheus: Prometheus,
  { templating }: DashboardJson,
  span: Omit<Span, 'step'>,
): Promise<Map<string, string[]>> {
  const values = new Map<string, string[]>();
  for (const { name, type, query = '' } of templating.list) {
    if (type !== 'query') continue;
    const [, selector, label] = /^label_values\((.*), (\w+)\)$/s.exec(query) ?? [];
    if (selector === undefined || label === undefined) throw new Error(`cannot ask ${query}`);
    const among = filled(selector, chosen(values));
    values.set(name, await prometheus.labelValues(label, among, span));
  }
  return values;
}

/** Each value chosen by itself, as Grafana writes several into a regular expression. */
export function chosen(values: ReadonlyMap<string, readonly string[]>): Record<string, string> {
  return Object.fromEntries([...values].map(([name, all]) => [name, `(${all.join('|')})`]));
}

/** With `All` chosen. */
export function allChosen({ templating }: DashboardJson): Record<string, string> {
  const queries = templating.list.filter(({ type }) => type === 'query');
  return Object.fromEntries(queries.map(({ name, allValue = '.*' }) => [name, allValue]));
}

/** Asks every query of every panel. @throws Error with the panel's title if one is not answered */
export async function askPanels(
  prometheus: Prometheus,
  dashboard: DashboardJson,
  shown: Shown,
  variables: Readonly<Record<string, string>>,
): Promise<AskedTarget[]> {
  const asked: AskedTarget[] = [];
  for (const panel of dashboard.panels) {
    for (const target of panel.targets ?? []) {
      const scrape = secondsOf(target.interval ?? '15s') / shown.pace;
      const step = Math.max(
        (shown.end - shown.start) / (shown.points ?? 1_000),
        secondsOf(panel.interval ?? '0s') / shown.pace,
        scrape,
      );
      const expr = filled(target.expr, { ...variables, ...timesOf(shown, step, scrape) });
      // `$1` is what label_replace has found.
      if (/\$\D/.test(expr)) throw new Error(`${panel.title}: a variable is left in ${expr}`);
      const aligned = (time: number) => Math.floor(time / step) * step;
      const span = { start: aligned(shown.start), end: aligned(shown.end), step };
      const series = await prometheus.range(expr, span).catch((cause: Error) => {
        throw new Error(`${panel.title}: ${cause.message}`);
      });
      asked.push({ panel, target, expr, span, series });
    }
  }
  return asked;
}

/** `{{label}}` written out; a label that the series has not is an empty text, as in Grafana. */
export function legendOf({ legendFormat }: DashboardTarget, { metric }: Series): string {
  return legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label: string) => metric[label] ?? '');
}

function secondsOf(interval: string): number {
  const [, number, unit = ''] = /^(\d+)([sm])$/.exec(interval) ?? [];
  if (number === undefined) throw new Error(`cannot read the interval ${interval}`);
  return Number(number) * (unit === 'm' ? 60 : 1);
}

function timesOf({ start, end }: Shown, step: number, scrape: number): Record<string, string> {
  const text = (seconds: number) => `${Math.round(seconds * 1_000)}ms`;
  return {
    __interval: text(step),
    __rate_interval: text(Math.max(step + scrape, 4 * scrape)),
    __range: text(end - start),
  };
}

function filled(text: string, variables: Readonly<Record<string, string>>): string {
  return text.replace(/\$(\w+)|\$\{(\w+)\}/g, (found, plain?: string, braced?: string) => {
    return variables[plain ?? braced ?? ''] ?? found;
  });
}
