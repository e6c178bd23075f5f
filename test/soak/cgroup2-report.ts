/** The lines that the guest program of `npm run soak:cgroup2` prints, and the figures in them. */
import { writeSync } from 'node:fs';

/** Written at once: the machine may be switched off with the next step. */
export function report(kind: string, fields: Record<string, unknown>): void {
  writeSync(1, `${JSON.stringify({ kind, ...fields })}\n`);
}

/** @param target the value that passes; absent: the figure is only shown */
export function reportFigure(name: string, value: number | string, target?: number | string): void {
  report('figure', { name, value, target, ok: target === undefined || value === target });
}
