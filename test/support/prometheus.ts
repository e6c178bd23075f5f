/**
 * A real Prometheus on loopback, as a process of its own with its storage in a directory of the test:
 * what it scrapes, the rules that it evaluates, and its HTTP API as Grafana asks it.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { freePort } from './free-port.ts';
import { until } from './until.ts';

export interface Series {
  metric: Record<string, string>;
  /** Seconds since 1970, and the number as Prometheus writes it. */
  values: [time: number, value: string][];
}

export interface Span {
  /** Seconds since 1970. */
  start: number;
  end: number;
  /** Seconds. */
  step: number;
}

export interface LoadedRule {
  name: string;
  /** `ok`, `err` or, before the first time, `unknown`. */
  health: string;
  lastError?: string;
}

export interface Prometheus {
  readonly url: string;
  /** @throws Error with what Prometheus says of the query */
  range(query: string, span: Span): Promise<Series[]>;
  /** The one number of an instant query; undefined if there is none. */
  number(query: string): Promise<number | undefined>;
  /** As Grafana fills a variable. */
  labelValues(label: string, selector: string, span: Omit<Span, 'step'>): Promise<string[]>;
  rules(): Promise<LoadedRule[]>;
  stop(): Promise<void>;
}

export interface PrometheusOptions {
  /** Seconds between two scrapes, and between two evaluations of the rules. */
  interval: number;
  /** `http://127.0.0.1:1234` each, with the labels that a ServiceMonitor would give. */
  targets: readonly { url: string; labels: Record<string, string> }[];
  /** Groups of rules, as a PrometheusRule has them. */
  groups?: unknown;
}

export function hasPrometheus(): boolean {
  return spawnSync('prometheus', ['--version']).error === undefined;
}

/** @param directory an empty one of its own */
export async function startPrometheus(
  directory: string,
  { interval, targets, groups = [] }: PrometheusOptions,
): Promise<Prometheus> {
  mkdirSync(directory, { recursive: true });
  const every = `${Math.round(interval * 1_000)}ms`;
  const write = (name: string, content: unknown) =>
    writeFileSync(join(directory, name), stringify(content));
  write('rules.yaml', { groups });
  write('prometheus.yaml', {
    global: { scrape_interval: every, scrape_timeout: every, evaluation_interval: every },
    rule_files: ['rules.yaml'],
    scrape_configs: targets.map(({ url, labels }, index) => ({
      job_name: `target-${index}`,
      static_configs: [{ targets: [new URL(url).host], labels }],
    })),
  });
  const port = await freePort();
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(directory, 'prometheus.yaml')}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], cwd: directory },
  );
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString('utf8');
  });
  const ended = once(child, 'close');
  const url = `http://127.0.0.1:${port}`;
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await ended;
  };
  const ready = async (): Promise<boolean> => {
    if (child.exitCode !== null) throw new Error(`Prometheus has ended:\n${output}`);
    const answer = await fetch(`${url}/-/ready`).catch(() => undefined);
    await answer?.body?.cancel();
    return answer?.ok ?? false;
  };
  try {
    await until('Prometheus is ready', ready);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, stop, ...apiAt(url) };
}

function apiAt(url: string): Omit<Prometheus, 'url' | 'stop'> {
  const ask = async <T>(path: string, parameters: Record<string, unknown> = {}): Promise<T> => {
    const query = new URLSearchParams(
      Object.entries(parameters).map(([name, value]): [string, string] => [name, String(value)]),
    );
    const response = await fetch(`${url}/api/v1/${path}?${query}`);
    const body = (await response.json()) as { status: string; data: T; error?: string };
    if (body.status !== 'success') {
      throw new Error(`Prometheus answers ${response.status}: ${body.error}: ${query}`);
    }
    return body.data;
  };
  return {
    range: async (query, span) =>
      (await ask<{ result: Series[] }>('query_range', { query, ...span })).result,
    number: async (query) => {
      const { result } = await ask<{ result: { value: [number, string] }[] }>('query', { query });
      return result[0] && Number(result[0].value[1]);
    },
    labelValues: (label, selector, span) =>
      ask(`label/${label}/values`, { 'match[]': selector, ...span }),
    rules: async () =>
      (await ask<{ groups: { rules: LoadedRule[] }[] }>('rules')).groups.flatMap(
        ({ rules }) => rules,
      ),
  };
}
