/**
 * The type of a check, and how all checks are run.
 * Invariants: checks run concurrently, each until a deadline. A check that fails, throws or hangs
 * is a finding like others. No text of a finding shows a secret.
 */

import { BerthError, messageOf } from '../../shared/errors.ts';
import { printable } from '../../shared/printable.ts';
import { redact } from '../../shared/redact.ts';
import { within } from '../../shared/waiting.ts';

export type FindingStatus = 'ok' | 'warning' | 'failed' | 'n/a';

export interface Finding {
  status: FindingStatus;
  /** The subject of the check: a host, a file, a command. */
  subject: string;
  /** The result of the check, as text. */
  detail: string;
  /** The remedy; present with every warning and failure. */
  remedy?: string;
}

export interface Check {
  name: string;
  /** The exit code if the check fails (sysexits.h). */
  exit: number;
  run(signal: AbortSignal): Promise<Finding[]>;
}

export interface Checked extends Finding {
  check: string;
}

export const ok = (subject: string, detail: string): Finding => ({ status: 'ok', subject, detail });
export const absent = (subject: string, detail: string): Finding => ({
  status: 'n/a',
  subject,
  detail,
});
export const warning = (subject: string, detail: string, remedy: string): Finding => ({
  ...{ status: 'warning', subject, detail, remedy },
});
export const failed = (subject: string, detail: string, remedy: string): Finding => ({
  ...{ status: 'failed', subject, detail, remedy },
});

/** The finding of an error that reads "cannot ...: <cause>; <remedy>". */
export function failedBy(subject: string, error: unknown): Finding {
  const text = messageOf(error);
  const cut = error instanceof BerthError ? text.indexOf('; ') : -1;
  return cut < 0
    ? failed(subject, text, 'see the cause')
    : failed(subject, text.slice(0, cut), text.slice(cut + 2));
}

/** @param deadline milliseconds for each check */
export async function runChecks(checks: readonly Check[], deadline: number): Promise<Checked[]> {
  const all = await Promise.all(checks.map((check) => runOne(check, deadline)));
  return all.flat();
}

async function runOne(check: Check, deadline: number): Promise<Checked[]> {
  const late = new AbortController();
  // The check runs within a promise, so that an error that it throws synchronously counts too.
  const running = Promise.resolve()
    .then(() => check.run(late.signal))
    .catch((error: unknown) => [failedBy(check.name, error)]);
  let found = await within(running, deadline);
  if (!found) {
    const remedy = 'check whether the volume, the name server or the network hangs';
    found = [failed(check.name, `no answer within ${deadline / 1_000} s`, remedy)];
    late.abort();
  }
  return found.map((finding) => ({ check: check.name, ...clean(finding) }));
}

/** Makes texts safe for a terminal: values from the volume may contain anything. */
function clean({ status, subject, detail, remedy }: Finding): Finding {
  const text = (value: string): string => printable(redact(value)).slice(0, 1_000);
  return {
    status,
    subject: text(subject),
    detail: text(detail),
    ...(remedy === undefined ? {} : { remedy: text(remedy) }),
  };
}
