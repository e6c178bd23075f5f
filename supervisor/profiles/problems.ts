/**
 * Formats the problems of the profiles file as sentences: path, line, expected value.
 * Invariant: no sentence quotes a value.
 */
import { type Document, isMap, isNode, isScalar, isSeq, type LineCounter } from 'yaml';
import type { z } from 'zod';
import { nearest } from '../../shared/nearest.ts';
import { fileSchema } from './schema.ts';

/** A path in the file. */
export type Path = readonly (string | number)[];

export interface Problem {
  path: Path;
  /** Set if the key itself is wrong, not its value. */
  key?: string;
  text: string;
}

/** One problem for each unknown key and for each invalid value. */
export function problemsOf(error: z.core.$ZodError): Problem[] {
  return error.issues.flatMap(problemsIn);
}

/** `profiles.review.limits.max_turns, line 12: expected ...`, sorted by line. */
export function sentencesOf(
  problems: readonly Problem[],
  document: Document,
  lines: LineCounter,
): string[] {
  const sentences = problems
    .map((problem) => ({ ...problem, line: lineOf(document, problem, lines) }))
    .sort((a, b) => a.line - b.line)
    .map(({ path, line, text }) => `${nameOf(path)}line ${line}: ${text}`);
  return [...new Set(sentences)];
}

function problemsIn(issue: z.core.$ZodIssue): Problem[] {
  const path = issue.path as (string | number)[];
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(path);
    return issue.keys.map((key) => {
      const near = nearest(key, known);
      const hint = near ? `did you mean ${near}?` : `the known keys are ${known.join(', ')}`;
      return { path: [...path, key], key, text: `unknown key; ${hint}` };
    });
  }
  if (issue.code === 'invalid_key') {
    const expected = issue.issues.map(({ message }) => message).join(', ');
    return [{ path, key: String(path.at(-1)), text: `expected ${expected}` }];
  }
  if (issue.message === 'Invalid input: expected map') return [{ path, text: 'expected a map' }];
  return [{ path, text: `expected ${issue.message}` }];
}

/** The known keys at that path. */
function keysAt(path: Path): string[] {
  let schema: z.core.$ZodType = fileSchema;
  for (const part of path) {
    const { def } = unwrap(schema)._zod as unknown as { def: Record<string, unknown> };
    const shape = def.shape as Record<string, z.core.$ZodType> | undefined;
    const next = shape?.[part] ?? def.valueType ?? def.element;
    if (!next) return [];
    schema = next as z.core.$ZodType;
  }
  const { def } = unwrap(schema)._zod as unknown as { def: { shape?: object } };
  return Object.keys(def.shape ?? {});
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const { innerType } = schema._zod.def as { innerType?: z.core.$ZodType };
  return innerType ? unwrap(innerType) : schema;
}

/** `profiles.review.overrides[0], `; empty for the file as a whole. */
function nameOf(path: Path): string {
  if (path.length === 0) return '';
  const parts = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`));
  return `${parts.join('').replace(/^\./, '')}, `;
}

/** The line of the value at `path`, or of its key; if absent, the line of its parent. */
function lineOf(document: Document, { path, key }: Problem, lines: LineCounter): number {
  let node: unknown = document.contents;
  let offset = 0;
  for (const [index, part] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find((each) => isScalar(each.key) && `${each.key.value}` === part);
      if (!pair) break;
      offset = offsetOf(pair.key) ?? offset;
      if (key !== undefined && index === path.length - 1) break;
      node = pair.value;
      if (!isMap(node) && !isSeq(node)) offset = offsetOf(node) ?? offset;
    } else if (isSeq(node) && typeof part === 'number') {
      node = node.items[part];
      offset = offsetOf(node) ?? offset;
    } else break;
  }
  return lines.linePos(offset).line;
}

function offsetOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}
