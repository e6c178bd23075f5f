/**
 * A log for lines that others cause at will: a tool in a loop must not fill the disk of the node.
 * Invariants: warnings and errors of the same event and reason are written up to a number in a minute;
 * then one line has the number of those that were left out. Other lines pass. The reasons that are
 * counted apart are bounded.
 */
import type { EventName } from './events.ts';
import type { Fields, Log } from './log.ts';

export interface LogBounds {
  /** Lines of one event and reason in a minute. */
  most: number;
  /** Milliseconds; for tests. */
  minute?: number;
}

/** Reasons that are counted apart in a minute. */
const mostReasons = 50;

export function boundedLog(log: Log, { most, minute = 60_000 }: LogBounds): Log {
  const counts = new Map<string, number>();

  const admits = (event: EventName, message: string): boolean => {
    const reason = `${event} ${reasonOf(message)}`;
    const key = counts.has(reason) || counts.size < mostReasons ? reason : event;
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    if (count === 1) {
      setTimeout(() => {
        const leftOut = (counts.get(key) ?? 0) - most;
        counts.delete(key);
        if (leftOut <= 0) return;
        log.warn(event, `lines of the same reason were left out in the last minute: ${message}`, {
          count: leftOut,
        });
      }, minute).unref();
    }
    return count <= most;
  };

  const wrap = (inner: Log): Log => ({
    debug: (event, message, fields) => inner.debug(event, message, fields),
    info: (event, message, fields) => inner.info(event, message, fields),
    warn: (event: EventName, message: string, fields?: Fields) => {
      if (admits(event, message)) inner.warn(event, message, fields);
    },
    error: (event: EventName, message: string, fields?: Fields) => {
      if (admits(event, message)) inner.error(event, message, fields);
    },
    child: (fields) => wrap(inner.child(fields)),
  });
  return wrap(log);
}

/** Messages are "cannot <do> <what>: <cause>; <remedy>". */
function reasonOf(message: string): string {
  return message.slice(message.indexOf(': ') + 1).slice(0, 200);
}
