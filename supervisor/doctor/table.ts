/** A diagnosis for people: a line a finding, the remedy below it where one is needed. */
import { styleText } from 'node:util';
import type { FindingStatus } from './check.ts';
import type { Diagnosis } from './doctor.ts';

const colours = { ok: 'green', warning: 'yellow', failed: 'red', 'n/a': 'gray' } as const;

/** @param coloured where a terminal shows it */
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
