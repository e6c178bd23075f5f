/**
 * The log: one JSON line an event, as Loki wants it, or short lines for a person.
 * Always holds: a string level, an `event` from the one list, no line over 12 KiB, and no secret:
 * every line passes `redact` as text before it is written. Prompts and answers are never given to it.
 */
import { type DestinationStream, pino, stdTimeFunctions } from 'pino';
import pretty from 'pino-pretty';
import type { EventName } from './events.ts';
import { redact } from './redact.ts';

export type Fields = Record<string, unknown> & { error?: unknown };

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
      serializers: { error: describeError },
      hooks: { streamWrite: (line) => bounded(redact(line)) },
    },
    options.pretty
      ? forPeople(options.destination)
      : (options.destination ?? pino.destination({ fd: 1, sync: true })),
  );
  return wrap(logger);
}

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

/** An error as fields: its class, code, message and the messages of its causes; the stack last. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code } = error as { code?: unknown };
  return {
    type: error.name,
    ...(code === undefined ? {} : { code }),
    message: error.message,
    ...(error.cause === undefined ? {} : { cause: describeError(error.cause) }),
    stack: error.stack,
  };
}

/** The line itself, or the same event with its longest texts cut and `truncated: true`. */
function bounded(line: string): string {
  if (Buffer.byteLength(line) <= longestLine) return line;
  const fields = JSON.parse(line) as Record<string, unknown>;
  for (let limit = 2048; limit >= 16; limit /= 2) {
    const shorter = `${JSON.stringify({ ...(cut(fields, limit) as object), truncated: true })}\n`;
    if (Buffer.byteLength(shorter) <= longestLine) return shorter;
  }
  const { level, time, service, version, event, msg } = cut(fields, 256) as Record<string, unknown>;
  return `${JSON.stringify({ level, time, service, version, event, msg, truncated: true })}\n`;
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
