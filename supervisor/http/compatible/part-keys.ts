/**
 * Decides what happens to each key within the messages of a request: berth reads it, it has no effect and the client
 * is warned, or the request is refused.
 * Invariants: a key that is in no list is refused, so nothing is ignored silently. Messages and parts that have another
 * shape or another type are left to the readers, which refuse them.
 */
import { isDeepStrictEqual } from 'node:util';
import { cannotUse, type FieldRule } from './field-rules.ts';

export interface KeyRules {
  /** Read by berth, or without effect on the answer. */
  accepted: readonly string[];
  warned?: Readonly<Record<string, FieldRule>>;
  /** The cause and the remedy. */
  refused?: Readonly<Record<string, readonly [why: string, remedy: string]>>;
  /** The rules of objects below a key; other values are left to the readers. */
  within?: Readonly<Record<string, KeyRules>>;
}

export interface MessageRules {
  message: KeyRules;
  /** By the type of the part. */
  parts: Readonly<Record<string, KeyRules>>;
}

/**
 * @param field the field of the request that has the messages
 * @returns warnings, one for each name of a key
 * @throws BerthError `invalid_request` for the first key that berth does not know
 */
export function checkMessages(messages: unknown, field: string, rules: MessageRules): string[] {
  const found = new Map<string, string>();
  for (const [index, message] of listOf(messages).entries()) {
    // Calls and results of tools are refused as such.
    if (!isOfPerson(message)) continue;
    const at = `${field}.${index}`;
    look(message, at, rules.message, found);
    checkParts(own(message, 'content'), `${at}.content`, rules, found);
  }
  return warningsOf(found);
}

/** Parts without a message around them, such as instructions. */
export function checkPartList(parts: unknown, field: string, rules: MessageRules): string[] {
  const found = new Map<string, string>();
  checkParts(parts, field, rules, found);
  return warningsOf(found);
}

/** One object of the request. */
export function checkKeys(value: unknown, field: string, rules: KeyRules): string[] {
  const found = new Map<string, string>();
  look(value, field, rules, found);
  return warningsOf(found);
}

const roles: readonly unknown[] = ['user', 'assistant', 'system', 'developer'];

function isOfPerson(message: unknown): boolean {
  return roles.includes(own(message, 'role')) && [undefined, 'message'].includes(typeOf(message));
}

function typeOf(value: unknown): string | undefined {
  const type = own(value, 'type');
  return type === undefined || typeof type === 'string' ? type : '';
}

type Found = Map<string, string>;

function checkParts(parts: unknown, field: string, rules: MessageRules, found: Found): void {
  for (const [index, part] of listOf(parts).entries()) {
    const known = own(rules.parts, typeOf(part) ?? '');
    if (known) look(part, `${field}.${index}`, known as KeyRules, found);
  }
}

function look(value: unknown, field: string, rules: KeyRules, found: Found): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return;
  const { accepted, warned = {}, refused = {}, within = {} } = rules;
  for (const [key, given] of Object.entries(value)) {
    if (given === null || given === undefined) continue;
    const below = own(within, key) as KeyRules | undefined;
    if (below) look(given, `${field}.${key}`, below, found);
    if (below || accepted.includes(key)) continue;
    const warning = own(warned, key) as FieldRule | undefined;
    const unknown = ['berth does not know this field', 'omit it'] as const;
    const [cause, remedy] = (own(refused, key) as typeof unknown | undefined) ?? unknown;
    if (!warning) throw cannotUse(`${field}.${key}`, cause, remedy);
    const { why, unless = [] } = warning;
    if (!unless.some((harmless) => isDeepStrictEqual(given, harmless))) found.set(key, why);
  }
}

function warningsOf(found: Found): string[] {
  return [...found].map(([key, why]) => `${key}: ${why}`);
}

function own(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
  return (value as Record<string, unknown>)[key];
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
