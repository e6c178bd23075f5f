/** The definition of a dashboard panel, and frequent queries. */

export interface Panel {
  title: string;
  /** The description of the panel: how to read it. */
  means: string;
  /** One value instead of a curve. */
  stat?: true;
  /** Shows the label of the value instead of the value. */
  named?: true;
  /** Bars of whole numbers: the number of events. */
  events?: true;
  /** In Grafana's 24 columns; the default of a curve is 6. */
  width?: number;
  /** The name of one of Grafana's units. */
  unit: string;
  decimals?: number;
  /** The maximum of the axis. */
  most?: number;
  /** Stacked areas instead of lines. */
  stacked?: true;
  /** The value is orange from the first threshold, and red from the second. */
  warn?: readonly [orange: number, red: number];
  /** The value is orange below the first threshold, and red below the second. */
  warnBelow?: readonly [orange: number, red: number];
  /** The texts for 0 and 1. */
  words?: readonly [zero: string, one: string];
  /** The colour of each legend; bounds are dashed. */
  colors?: Readonly<Record<string, string>>;
  /** The legends that are drawn as lines and are not stacked. */
  apart?: readonly string[];
  bounds?: Readonly<Record<string, string>>;
  /** The PromQL query of each legend. */
  queries: Readonly<Record<string, string>>;
}

/** The time until or since a timestamp; no value if the timestamp is NaN. */
export const until = (metric: string): string => `min(${metric}{@} > 0) - time()`;
export const since = (metric: string): string => `time() - max(${metric}{@} > 0)`;
export const p95 = (metric: string, more = ''): string =>
  `histogram_quantile(0.95, sum by (le) (rate(${metric}_bucket{@${more}}[$__rate_interval])))`;

/** The number of events, only of events that occurred: a legend of twenty zeros is useless. */
export const counted = (metric: string, by: string, more = ''): string =>
  `round(sum by (${by}) (increase(${metric}{@${more}}[$__rate_interval]))) > 0`;
