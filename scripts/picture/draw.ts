/**
 * Draws a dashboard's JSON with the answers of Prometheus, with Grafana's own components in
 * Chromium. Owns the folder in which these components are installed.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import {
  type AskedTarget,
  type DashboardJson,
  legendOf,
} from '../../test/support/grafana-queries.ts';

/** The packages of the page, in addition to esbuild, with the React of this Grafana. */
const packages = [
  '@grafana/data@13.2.2',
  '@grafana/ui@13.2.2',
  '@fontsource/inter@5.3.0',
  'react@19.3.1',
  'react-dom@19.3.1',
];

export interface Drawing {
  asked: readonly AskedTarget[];
  /** Seconds since 1970. */
  from: number;
  to: number;
}

/** @param directory with the installed components; absent ones are installed there */
export function installGrafana(directory: string): void {
  if (existsSync(join(directory, 'node_modules/@grafana/ui'))) return;
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), '{"private":true}');
  const options = ['--no-audit', '--no-fund', '--save-exact', '--ignore-scripts'];
  execFileSync('npm', ['install', ...options, ...packages], { cwd: directory, stdio: 'inherit' });
}

/**
 * @param installed the folder with Grafana's components
 * @param directory an empty directory for the page
 */
export async function draw(
  dashboard: DashboardJson,
  { asked, from, to }: Drawing,
  installed: string,
  directory: string,
  picture: string,
): Promise<void> {
  mkdirSync(directory, { recursive: true });
  // The page must be in this folder to resolve the packages.
  const page = join(installed, 'page.mjs');
  copyFileSync(join(import.meta.dirname, 'page.mjs'), page);
  const text = ['.woff', '.woff2', '.ttf', '.svg'].map((end) => [end, 'dataurl'] as const);
  await build({
    ...{ entryPoints: [page], outfile: join(directory, 'page.js'), bundle: true, minify: true },
    ...{ platform: 'browser', format: 'iife', logLevel: 'error' },
    loader: Object.fromEntries(text),
    define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  });
  const results = Object.fromEntries(
    dashboard.panels.map(({ id }) => [
      id,
      asked.filter(({ panel }) => panel.id === id).map(toResult),
    ]),
  );
  const data = JSON.stringify({ dashboard, results, from, to }).replaceAll('<', '\\u003c');
  const { width, height } = sizeOf(dashboard);
  writeFileSync(
    join(directory, 'index.html'),
    `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="page.css">
<body><script>window.picture = ${data}</script><script src="page.js"></script></body>`,
  );
  execFileSync(
    'chromium',
    [
      ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
      ...['--hide-scrollbars', '--virtual-time-budget=20000', `--window-size=${width},${height}`],
      `--user-data-dir=${join(directory, 'chromium')}`,
      `--screenshot=${picture}`,
      `file://${join(directory, 'index.html')}`,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  if (readFileSync(picture).length < 50_000) throw new Error('the picture is nearly empty');
}

/**
 * Inserts null where a series has no value: Grafana draws a gap there, but Prometheus returns no
 * null.
 */
function toResult({ target, series, span }: AskedTarget) {
  return {
    refId: target.refId,
    series: series.map((one) => {
      const known = new Map(one.values.map(([time, value]) => [Math.round(time * 1_000), value]));
      const values: [number, number | null][] = [];
      for (let time = span.start; time <= span.end + span.step / 1_000; time += span.step) {
        const value = Number(known.get(Math.round(time * 1_000)) ?? 'NaN');
        values.push([time, Number.isFinite(value) ? value : null]);
      }
      return { legend: legendOf(target, one), values };
    }),
  };
}

/** The size of the page in pixels; page.mjs has the same sizes. */
function sizeOf({ panels }: DashboardJson): { width: number; height: number } {
  const bottom = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return { width: 1_600, height: bottom * 38 + 32 };
}
