/**
 * The log: one JSON line an event, as Loki wants it, or short lines for a person.
 * Always holds: each line is JSON with a string level and an `event` from the one list, none is over
 * 12 KiB, and none shows a secret: every text of a line, key or value, is redacted by itself, so that
 * no secret can be one that breaks the line; and none holds what a terminal obeys. Prompts and answers are never given to it.
 */
import { type DestinationStream, pino, stdTimeFunctions } from 'pino';
import pretty from 'pino-pretty';
import type { EventName } from './events.ts';
import { printable } from './printable.ts';
import { redact, redactValue } from './redact.ts';

/** Anything but what the log itself says of a line. */
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
  /** A log whose every line carries `fields` as well. */
  child(fields: Fields): Log;
}

export type Level = 'debug' | 'info' | 'warn' | 'error';

export interface LogOptions {
  service: string;
  version: string;
  level: Level;
  pretty: boolean;
  /**
   * Milliseconds after a line for which the next ones, if none is a warning, may wait to be written
   * together; absent writes each at once. All are written when the process exits, however it does.
   */
  together?: number;
  /** Where lines go; standard output if absent. */
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

/** Characters: so many are written without waiting for more. */
const longestWait = 16 * 1024;

/**
 * Writes a line at once, and those that come right after it together: only a kill that nobody can see
 * coming loses what waits, and a warning takes it along.
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

/** Of a line of this log: its level comes first. */
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

/** How many causes of causes are told: an error may be its own. */
const deepestCause = 8;

/** An error as fields: its class, code, message and the messages of its causes; the stack last. */
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

/** A line as it may be written: without secrets, and bounded. Never throws. */
function shown(line: string, { service, version }: LogOptions): string {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(line) as Record<string, unknown>;
  } catch {
    // What cannot be read cannot be redacted either.
    const time = new Date().toISOString();
    const msg = 'cannot log an event: its line is not JSON; this is a bug in berth';
    return JSON.stringify({ level: 'error', time, service, version, event: 'failed', msg });
  }
  // berth's own words: not even a secret that is one of them may hide which line this is.
  const { level, time, event } = fields;
  if (hidesNothing(line)) return bounded(fields);
  const clean = redactValue(fields) as Record<string, unknown>;
  return bounded({ ...clean, level, time, service, event });
}

/** So that a person sees an escape of JSON where it is not one of spacing or quoting. */
function escapesShown(line: string): string {
  return line.replace(/\\(?:u[0-9a-f]{4}|[\s\S])/g, (one) =>
    /^\\[ubfr]/.test(one) ? `\\${one}` : one,
  );
}

const stringify = (value: unknown): string => printable(JSON.stringify(value));

/**
 * Whether no text of the line has a secret, seen with one look instead of one for each text. Without
 * escapes every text stands in the line as it is, between quotes that no secret goes on beyond.
 */
function hidesNothing(line: string): boolean {
  return !line.includes('\\') && redact(line) === line;
}

/** The line, with its longest texts cut and `truncated: true` where it would be too long. */
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

/** For what only looks. */
export const silent: Log = {
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  child: () => silent,
};
