/**
 * The types of values that a setting can have: zod schemas from text. Their error messages complete
 * the sentence "expected ...".
 */
import { isAbsolute, normalize } from 'node:path';
import { z } from 'zod';
import { formatDuration, formatSize, parseDuration, parseSize } from './units.ts';

export const text = z.string();

export const path = z
  .string()
  .refine(isAbsolute, { error: 'an absolute path' })
  .transform((value) => normalize(value));

/** A whole number within bounds. */
export function integer(minimum: number, maximum: number) {
  const error = `a whole number from ${minimum} to ${maximum}`;
  return z
    .string()
    .regex(/^\d{1,15}$/, { error })
    .transform(Number)
    .refine((value) => value >= minimum && value <= maximum, { error });
}

/** Milliseconds, from `30s`, `5m`, `1h30m`. */
export function duration(minimum: number, maximum: number) {
  const error = `a duration from ${formatDuration(minimum)} to ${formatDuration(maximum)}, such as 30s or 5m`;
  return z.string().transform((value, context) => {
    const milliseconds = parseDuration(value);
    if (milliseconds === undefined || milliseconds < minimum || milliseconds > maximum) {
      context.addIssue({ code: 'custom', message: error });
      return z.NEVER;
    }
    return milliseconds;
  });
}

/** As `duration`, or `0` for never. */
export function durationOrNever(minimum: number, maximum: number) {
  return z.union([z.literal('0').transform(() => 0), duration(minimum, maximum)], {
    error: `0 or a duration from ${formatDuration(minimum)} to ${formatDuration(maximum)}, such as 7d`,
  });
}

/** Bytes, from `512Mi`, `2Gi`, `100M`. */
export function size(minimum: number, maximum: number) {
  const error = `a size from ${formatSize(minimum)} to ${formatSize(maximum)}, such as 512Mi or 2Gi`;
  return z.string().transform((value, context): number => {
    const bytes = parseSize(value);
    if (bytes !== undefined && bytes >= minimum && bytes <= maximum) return bytes;
    context.addIssue({ code: 'custom', message: error });
    return z.NEVER;
  });
}

/** Bytes by absolute path, from `/tmp=1Gi,/workspace=10Gi`. */
export const sizes = z.string().transform((value, context): ReadonlyMap<string, number> => {
  const given = value.split(',').map((each) => {
    const [, where = '', much = ''] = /^([^=]+)=(.+)$/.exec(each.trim()) ?? [];
    return [where, parseSize(much) ?? 0] as const;
  });
  if (given.every(([where, bytes]) => isAbsolute(where) && bytes > 0)) {
    return new Map(given.map(([where, bytes]) => [normalize(where), bytes]));
  }
  context.addIssue({
    code: 'custom',
    message: 'paths with sizes such as /tmp=1Gi,/workspace=10Gi',
  });
  return z.NEVER;
});

/** US dollars, from `5` or `2.50`. */
export const dollars = z
  .string()
  .regex(/^\d{1,7}(\.\d{1,6})?$/, { error: 'an amount in US dollars such as 20 or 2.50' })
  .transform(Number);

/** Either a share of a limit, `70%`, or bytes, `512Mi`. */
export type Amount = { share: number } | { bytes: number };

export const amount = z.string().transform((value, context): Amount => {
  const percent = /^(\d{1,2})%$/.exec(value);
  if (percent && Number(percent[1]) > 0) return { share: Number(percent[1]) / 100 };
  const bytes = parseSize(value);
  if (bytes !== undefined && bytes > 0) return { bytes };
  context.addIssue({
    code: 'custom',
    message: 'a share such as 70% or a size such as 512Mi',
  });
  return z.NEVER;
});

export const flag = z
  .enum(['true', 'false'], { error: 'true or false' })
  .transform((value) => value === 'true');

export function choice<const T extends readonly [string, ...string[]]>(...values: T) {
  return z.enum(values, { error: `one of ${values.join(', ')}` });
}

export interface Listen {
  host: string;
  /** With 0 the system selects a port. */
  port: number;
}

/** `:8080`, `127.0.0.1:8080` or `[::1]:8080`; without a host, all addresses. */
export const listen = z.string().transform((value, context): Listen => {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(value);
  if (match && Number(match[3]) <= 65_535) {
    return { host: match[1] ?? (match[2] || '::'), port: Number(match[3]) };
  }
  context.addIssue({ code: 'custom', message: 'an address such as :8080 or 127.0.0.1:8080' });
  return z.NEVER;
});

export interface SecretName {
  /** Absent: the namespace of the pod. */
  namespace?: string;
  name: string;
}

/** `name` or `namespace/name`, with the rules of Kubernetes for names of Secrets and namespaces. */
export const secretName = z.string().transform((value, context): SecretName => {
  const label = '[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?';
  const match = new RegExp(`^(?:(${label})/)?(${label}(?:\\.${label})*)$`).exec(value);
  const [, namespace, name] = match ?? [];
  if (name !== undefined && name.length <= 253) return namespace ? { namespace, name } : { name };
  context.addIssue({
    code: 'custom',
    message: 'the name of a Secret such as berth-live or berth/berth-live',
  });
  return z.NEVER;
});

/** A host and a port, both required. */
export const hostAndPort = listen.refine(({ host, port }) => host !== '::' && port > 0, {
  error: 'a host and a port such as example.com:443',
});

/** Names as in the header Host, without a port; an IPv6 address in brackets. */
export const hostNames = z.string().transform((value, context): readonly string[] => {
  const names = value
    .split(',')
    .map((each) => each.trim().toLowerCase())
    .filter((each) => each !== '');
  const isName = (name: string) =>
    URL.parse(`http://${name}`)?.hostname === name || /^[a-z][a-z0-9+.-]*:\/\/\*$/.test(name);
  if (names.every(isName)) return names;
  context.addIssue({
    code: 'custom',
    message: 'host names without a port, with commas between them, such as berth,berth.example.com',
  });
  return z.NEVER;
});

/** A URL of http or https, without a slash at its end. */
export const httpUrl = z.string().transform((value, context): string => {
  const url = URL.parse(value);
  if (url && /^https?:$/.test(url.protocol)) return url.href.replace(/\/+$/, '');
  context.addIssue({ code: 'custom', message: 'an https URL' });
  return z.NEVER;
});

/** The address of a Redis server; the value is a secret, so messages do not show it. */
/** The address of a service as people reach it, without a slash at its end. */
export const publicUrl = z
  .url({ protocol: /^https?$/, error: 'expected an http or https URL' })
  .refine((value) => !/[?#@]/.test(value), {
    error: 'expected a URL without a user, a query and a fragment',
  })
  .transform((value) => value.replace(/\/+$/, ''));

export const redisUrl = z.string().refine((value) => {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  return (url?.protocol === 'redis:' || url?.protocol === 'rediss:') && url.hostname !== '';
}, 'an address such as redis://user:password@host:6379/0; encode special characters of the password');

export const redisPrefix = z
  .string()
  .regex(/^[\w.-]{1,64}$/, 'up to 64 letters, digits, ".", "_" and "-"');

export const replicaName = z
  .string()
  .regex(/^[\w.-]{1,253}$/, 'up to 253 letters, digits, ".", "_" and "-"');
