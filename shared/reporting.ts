/**
 * The settings of a program's reporting, which work even if another setting is wrong: its log, and
 * the container's termination message, which Kubernetes shows as the reason why the container
 * ended.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { logLevel, logPretty, terminationLog } from './common-settings.ts';
import { type Environment, readSettings } from './config.ts';
import type { Level } from './log.ts';
import { printable } from './printable.ts';
import { redact } from './redact.ts';

export interface Reporting {
  level: Level;
  pretty: boolean;
  terminationLog: string;
}

/** The settings of reporting only; the defaults if these settings are wrong. */
export function readReporting(environment: Environment): Reporting {
  const read = <T>(read: () => T, otherwise: T): T => {
    try {
      return read();
    } catch {
      return otherwise;
    }
  };
  return {
    level: read(() => readSettings({ logLevel }, environment).settings.logLevel, 'info'),
    pretty: read(() => readSettings({ logPretty }, environment).settings.logPretty, false),
    terminationLog: read(
      () => readSettings({ terminationLog }, environment).settings.terminationLog,
      '/dev/termination-log',
    ),
  };
}

/** Writes one line of at most 2,000 characters (Kubernetes shows 4 KiB); never throws. */
export async function leaveTerminationMessage(path: string, message: string): Promise<void> {
  const flat = message.replace(/:\n +- /, ': ').replace(/\n +- /g, '; ');
  const line = printable(redact(flat));
  try {
    // The file is not created: outside Kubernetes no program reads it.
    const { O_WRONLY, O_TRUNC, O_NOFOLLOW, O_NONBLOCK } = constants;
    const file = await open(path, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_NONBLOCK);
    await file.writeFile(`${line.slice(0, 2_000)}\n`).finally(() => file.close());
  } catch {
    // Only a message: the log and the exit code report the same.
  }
}
