/** A log that keeps its lines, so that a test can wait for an event and look at what was written. */
import { createLog, type Log } from '../../shared/log.ts';
import { until } from './until.ts';

export interface LogLine extends Record<string, unknown> {
  level: string;
  event: string;
  msg: string;
}

export interface CapturedLog {
  log: Log;
  /** Oldest first. */
  readonly lines: LogLine[];
  /** All that was written, as text. */
  readonly text: string;
  /** The first line of that event, seen already or still to come. */
  logged(event: string, fits?: (line: LogLine) => boolean): Promise<LogLine>;
  /** How many lines of that event there are. */
  count(event: string): number;
}

export function captureLog(onLine: (line: LogLine) => void = () => {}): CapturedLog {
  const lines: LogLine[] = [];
  let text = '';
  const log = createLog({
    service: 'test',
    version: '0',
    level: 'debug',
    pretty: false,
    destination: {
      write(chunk: string) {
        text += chunk;
        const line = JSON.parse(chunk) as LogLine;
        lines.push(line);
        onLine(line);
      },
    },
  });
  return {
    log,
    lines,
    get text() {
      return text;
    },
    logged: (event, fits = () => true) =>
      until(`the log says ${event}`, () =>
        lines.find((line) => line.event === event && fits(line)),
      ),
    count: (event) => lines.filter((line) => line.event === event).length,
  };
}
