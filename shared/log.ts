/**
 * The log: one JSON line for each event, for Loki, or short lines for a person.
 * Invariants: each line is JSON with a string level and an `event` of the list in events.ts, and
 * shorter than 12 KiB. No line shows a secret: each text of a line, key or value, is redacted
 * separately, so a secret cannot break the line. No line contains control characters. Prompts and
 * answers are never logged.
 */
import { type DestinationStream, pino, stdTimeFunctions } from 'pino';
import pretty from 'pino-pretty';
import type { EventName } from './events.ts';
import { printable } from './printable.ts';
import { redact, redactValue } from './redact.ts';

/** Any field except those that the log itself sets. */
export type Fields = Record<string, unknown> & {
  error?: unknown;
  level?: never;
  time?: never;
  service?: never;
  version?: never;
  event?: never;
  msg?: never;
};

export interface Log {
  debug(event: EventName, message: string, fields?: Fields): void;
  info(event: EventName, message: string, fields?: Fields): void;
  warn(event: EventName, message: string, fields?: Fields): void;
  error(event: EventName, message: string, fields?: Fields): void;
  /** A log that adds `fields` to each line. */
  child(fields: Fields): Log;
}

export type Level = 'debug' | 'info' | 'warn' | 'error';

export interface LogOptions {
  service: string;
  version: string;
  level: Level;
  pretty: boolean;
  /**
   * Milliseconds after a line during which further lines wait and are written together, unless one
   * is a warning; absent writes each line immediately. All lines are written when the process
   * exits.
   */
  together?: number;
  /** The destination of the lines; standard output if absent. */
  destination?: DestinationStream;
}

/** The longest line in bytes: containerd splits lines at 16 KiB. */
const longestLine = 12 * 1024;

export function createLog(options: LogOptions): Log {
  const logger = pino(
    {
      level: options.level,
      base: { service: options.service, version: options.version },
      messageKey: 'msg',
      errorKey: 'error',
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: (error) => describeError(error) },
      hooks: {
        streamWrite: (line) => {
          const clean = shown(line, options);
          return `${options.pretty ? escapesShown(clean) : clean}\n`;
        },
      },
    },
    options.pretty
      ? forPeople(options.destination)
      : (options.destination ?? standardOutput(options.together)),
  );
  return wrap(logger);
}

/** The number of waiting characters that are written without further delay. */
const longestWait = 16 * 1024;

/**
 * Writes a line immediately, and the lines shortly after it together. Only SIGKILL loses waiting
 * lines, and a warning flushes them.
 */
function standardOutput(together = 0): DestinationStream {
  const output = pino.destination({ fd: 1, sync: true });
  if (together === 0) return output;
  let waiting = '';
  let timer: NodeJS.Timeout | undefined;
  const flush = (): void => {
    const lines = waiting;
    waiting = '';
    if (lines !== '') output.write(lines);
  };
  const rest = (): void => {
    timer = waiting === '' ? undefined : setTimeout(rest, together).unref();
    flush();
  };
  process.on('exit', flush);
  return {
    write: (line) => {
      waiting += line;
      if (!timer || urgent.test(line) || waiting.length > longestWait) flush();
      timer ??= setTimeout(rest, together).unref();
    },
  };
}

/** A warning or an error: the level comes first in a line of this log. */
const urgent = /^\{"level":"(?:warn|error)"/;

function wrap(logger: pino.Logger): Log {
  const at =
    (level: Level) =>
    (event: EventName, message: string, fields: Fields = {}): void =>
      logger[level]({ event, ...fields }, message);
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => wrap(logger.child(fields)),
  };
}

/** The depth of causes that are logged: an error may be its own cause. */
const deepestCause = 8;

/** An error as fields: class, code, message and the messages of its causes; the stack last. */
function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return error;
  const { code } = error as { code?: unknown };
  return {
    type: error.name,
    ...(code === undefined ? {} : { code }),
    message: error.message,
    ...(error.cause === undefined || depth === deepestCause
      ? {}
      : { cause: describeError(error.cause, depth + 1) }),
    stack: error.stack,
  };
}

/** A line in its final form: redacted and bounded. Never throws. */
function shown(line: string, { service, version }: LogOptions): string {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(line) as Record<string, unknown>;
  } catch {
    // A line that cannot be parsed cannot be redacted either.
    const time = new Date().toISOString();
    const msg = 'cannot log an event: its line is not JSON; this is a bug in berth';
    return JSON.stringify({ level: 'error', time, service, version, event: 'failed', msg });
  }
  // Words of berth's own: a secret that equals one of them must not hide which line this is.
  const { level, time, event } = fields;
  if (hidesNothing(line)) return bounded(fields);
  const clean = redactValue(fields) as Record<string, unknown>;
  return bounded({ ...clean, level, time, service, event });
}

/** Shows a person the escapes of JSON, except those for spaces and quotes. */
function escapesShown(line: string): string {
  return line.replace(/\\(?:u[0-9a-f]{4}|[\s\S])/g, (one) =>
    /^\\[ubfr]/.test(one) ? `\\${one}` : one,
  );
}

const stringify = (value: unknown): string => printable(JSON.stringify(value));

/**
 * Whether no text of the line contains a secret, checked with one search. Without escapes every
 * text is in the line unchanged, between quotes, and no secret extends beyond a quote.
 */
function hidesNothing(line: string): boolean {
  return !line.includes('\\') && redact(line) === line;
}

/**
 * The line, with its longest texts shortened and `truncated: true` if the line would be too long.
 */
function bounded(fields: Record<string, unknown>): string {
  const line = stringify(fields);
  if (Buffer.byteLength(line) <= longestLine) return line;
  for (let limit = 2048; limit >= 16; limit /= 2) {
    const shorter = stringify({ ...(cut(fields, limit) as object), truncated: true });
    if (Buffer.byteLength(shorter) <= longestLine) return shorter;
  }
  const { level, time, service, version, event, msg } = fields;
  const message = typeof msg === 'string' ? cut(msg, 256) : undefined;
  return stringify({ level, time, service, version, event, msg: message, truncated: true });
}

function cut(value: unknown, limit: number): unknown {
  if (typeof value === 'string') return value.length > limit ? `${value.slice(0, limit)}…` : value;
  if (Array.isArray(value)) return value.slice(0, limit).map((item) => cut(item, limit));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .slice(0, limit)
      .map(([key, item]) => [key, cut(item, limit)]),
  );
}

function forPeople(destination: DestinationStream | undefined): DestinationStream {
  return pretty({
    colorize: destination === undefined && process.stdout.isTTY === true,
    destination: destination ?? 1,
    sync: true,
    translateTime: 'SYS:HH:MM:ss',
    ignore: 'service,version,event',
    messageKey: 'msg',
    errorLikeObjectKeys: ['error'],
    singleLine: true,
  });
}

const nothing = (): void => undefined;

/** A log that drops every line, for read-only checks. */
export const silent: Log = {
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  child: () => silent,
};
