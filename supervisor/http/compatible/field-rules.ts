/**
 * Decides what happens to each field of a request that berth does not read: it has no effect here, the client is warned,
 * or the request is refused.
 * Invariant: a field that is in no list is refused, so nothing is ignored silently.
 */
import { isDeepStrictEqual } from 'node:util';
import { BerthError } from '../../../shared/errors.ts';

/** Why a field cannot be honoured, and the values that want nothing. */
export interface FieldRule {
  why: string;
  /** Besides null and an absent field. */
  unless?: readonly unknown[];
}

export interface FieldRules {
  /** Read by berth, or without effect on the answer. */
  accepted: readonly string[];
  warned: Readonly<Record<string, FieldRule>>;
  refused: Readonly<Record<string, FieldRule>>;
}

/**
 * @returns the warnings
 * @throws BerthError `invalid_request` for the first field that cannot be honoured
 */
export function checkFields(
  body: Readonly<Record<string, unknown>>,
  { accepted, warned, refused }: FieldRules,
): string[] {
  const warnings: string[] = [];
  for (const [field, value] of Object.entries(body)) {
    if (value === null || value === undefined || accepted.includes(field)) continue;
    const refusal = own(refused, field);
    const warning = own(warned, field);
    if (refusal === undefined && warning === undefined) {
      throw cannotUse(field, 'berth does not know this field', 'omit it');
    }
    if (refusal && !wantsNothing(value, refusal)) throw cannotUse(field, refusal.why, 'omit it');
    if (warning && !wantsNothing(value, warning)) warnings.push(`${field}: ${warning.why}`);
  }
  return warnings;
}

/** A warning for each key of an object of the request that berth does not read. */
export function unusedKeys(value: unknown, field: string, read: readonly string[]): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value)
    .filter(([key, given]) => given !== null && !read.includes(key))
    .map(([key]) => `${field}.${key.slice(0, 50)}: it has no effect here`);
}

/** The error for a part of a request. */
export function cannotUse(field: string, cause: string, remedy: string): BerthError {
  const shown = field.slice(0, 100);
  return new BerthError(
    'invalid_request',
    `cannot use ${JSON.stringify(shown)}: ${cause}; ${remedy} (see docs/clients.md)`,
    { details: { field: shown } },
  );
}

function own<T>(table: Readonly<Record<string, T>>, field: string): T | undefined {
  return Object.hasOwn(table, field) ? table[field] : undefined;
}

function wantsNothing(value: unknown, { unless = [] }: FieldRule): boolean {
  return unless.some((harmless) => isDeepStrictEqual(value, harmless));
}
