/** Names what the messages of a request have that neither the CLI nor the model gets. */
import { isDeepStrictEqual } from 'node:util';
import type { FieldRule } from './field-rules.ts';

const rules: Readonly<Record<string, FieldRule>> = {
  name: { why: 'the model does not get the names of speakers' },
  detail: { why: 'the CLI decides how it sends pictures', unless: ['auto'] },
  citations: { why: 'the answer has no citations', unless: [{ enabled: false }] },
};

/** Warnings, one for each name of a field; fields that are not listed have no effect on the answer. */
export function silentFields(messages: unknown): string[] {
  const found = new Set<string>();
  for (const message of listOf(messages)) {
    look(message, found);
    for (const part of listOf(fieldOf(message, 'content'))) {
      look(part, found);
      look(fieldOf(part, 'image_url'), found);
    }
  }
  return [...found].map((field) => `${field}: ${rules[field]?.why}`);
}

function look(value: unknown, found: Set<string>): void {
  for (const [field, { unless = [] }] of Object.entries(rules)) {
    const given = fieldOf(value, field);
    if (given === undefined || given === null) continue;
    if (!unless.some((harmless) => isDeepStrictEqual(given, harmless))) found.add(field);
  }
}

function fieldOf(value: unknown, field: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, field)) return undefined;
  return (value as Record<string, unknown>)[field];
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
