/** Formats a diagnosis for people: one line for each finding, and its remedy below. */
import { styleText } from 'node:util';
import type { FindingStatus } from './check.ts';
import type { Diagnosis } from './doctor.ts';

const colours = { ok: 'green', warning: 'yellow', failed: 'red', 'n/a': 'gray' } as const;

/** @param coloured if a terminal shows the table */
export function tableOf({ version, findings }: Diagnosis, coloured: boolean): string {
  const marked = (status: FindingStatus): string => {
    const text = status.padEnd(8);
    return coloured ? styleText(colours[status], text, { validateStream: false }) : text;
  };
  const wide = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, status, subject, detail, remedy }) => [
    `${marked(status)}${check.padEnd(wide)}  ${subject}: ${detail}`,
    ...(remedy === undefined ? [] : [`${''.padEnd(8 + wide)}  -> ${remedy}`]),
  ]);
  const count = (wanted: FindingStatus): number =>
    findings.filter(({ status }) => status === wanted).length;
  const warnings = count('warning') === 1 ? '1 warning' : `${count('warning')} warnings`;
  const sum = `berth ${version}: ${count('failed')} failed, ${warnings}, ${count('ok')} ok`;
  return `${[...lines, '', sum].join('\n')}\n`;
}
