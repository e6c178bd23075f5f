/** Prints the figures of a benchmark: a table for people, one JSON line for programs. */
import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { formatSize } from '../shared/units.ts';

export interface Figure {
  name: string;
  value: number;
  unit: string;
  /** The highest good value; absent for a figure without a target. */
  target?: number;
}

/** Returns the value below which `share` of the values are; 0.5 is the median. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

/** Prints the figures; with the argument `--json` also as JSON in the last line. */
export function report(title: string, figures: readonly Figure[]): void {
  const judged = figures.map((figure) => ({
    ...figure,
    value: Math.round(figure.value * 1000) / 1000,
    ok: figure.target === undefined || figure.value <= figure.target,
  }));
  const machine = describeMachine();
  process.stdout.write(`\n${title}\n${Object.values(machine).join(', ')}\n\n`);
  const width = Math.max(...judged.map(({ name }) => name.length));
  for (const { name, value, unit, target, ok } of judged) {
    const judgement = target === undefined ? '' : `  at most ${target}: ${ok ? 'met' : 'MISSED'}`;
    const shown = value.toFixed(unit === 'ms' ? 1 : 3).padStart(9);
    process.stdout.write(`  ${name.padEnd(width)} ${shown} ${unit.padEnd(2)}${judgement}\n`);
  }
  if (process.argv.includes('--json')) {
    process.stdout.write(`${JSON.stringify({ figures: judged, machine })}\n`);
  }
}

function describeMachine(): Record<string, string> {
  const claude = execFileSync('claude', ['--version'], { encoding: 'utf8' }).trim();
  const processors = cpus();
  return {
    processor: `${processors.length} x ${processors[0]?.model.trim()}`,
    memory: formatSize(totalmem()),
    node: process.version,
    claude,
  };
}
