/** What a panel of the dashboard is made of, and the queries that come again and again. */

export interface Panel {
  title: string;
  /** What a person makes of it. */
  means: string;
  /** One value instead of a curve. */
  stat?: true;
  /** What its label says, in place of its value. */
  named?: true;
  /** Bars of whole numbers: how often it happened. */
  events?: true;
  /** Of Grafana's 24 columns; a curve has 6 by default. */
  width?: number;
  /** Of Grafana's units. */
  unit: string;
  decimals?: number;
  /** The top of the axis. */
  most?: number;
  /** Areas on top of each other instead of lines. */
  stacked?: true;
  /** From this value on it is told in orange, and in red. */
  warn?: readonly [orange: number, red: number];
  /** The same below these values. */
  warnBelow?: readonly [orange: number, red: number];
  /** What 0 and 1 are called. */
  words?: readonly [zero: string, one: string];
  /** By legend: how it is coloured; bounds are dashed. */
  colors?: Readonly<Record<string, string>>;
  /** By legend: a line of its own, whatever is stacked. */
  apart?: readonly string[];
  bounds?: Readonly<Record<string, string>>;
  /** By legend: PromQL. */
  queries: Readonly<Record<string, string>>;
}

/** The time to or since a timestamp; no value where that is NaN. */
export const until = (metric: string): string => `min(${metric}{@} > 0) - time()`;
export const since = (metric: string): string => `time() - max(${metric}{@} > 0)`;
export const p95 = (metric: string, more = ''): string =>
  `histogram_quantile(0.95, sum by (le) (rate(${metric}_bucket{@${more}}[$__rate_interval])))`;

/** How often, of what happened at all: a legend of twenty zeros says nothing. */
export const counted = (metric: string, by: string, more = ''): string =>
  `round(sum by (${by}) (increase(${metric}{@${more}}[$__rate_interval]))) > 0`;
