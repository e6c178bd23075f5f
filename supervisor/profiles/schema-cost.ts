/**
 * Estimates the work of compiling a caller's JSON Schema, which its size does not show: Ajv, in
 * berth and in the CLI, copies a definition to each `$ref` that points to it, so 13 KB can become
 * 100 MB of code.
 * Invariants: the estimate takes time linear in the size of the schema, without deep recursion. A
 * schema whose cost cannot be estimated is refused.
 */

/** The maximum number of nested objects and lists. */
const deepest = 100;
/** JSON values. */
const mostValues = 10_000;

export interface SchemaProblem {
  cause: string;
  remedy: string;
}

/** An object or a list of the schema, with everything below it. */
interface Part {
  /** JSON values. */
  values: number;
  refs: string[];
}

/** Why compiling the schema is too much work; undefined if it is not. */
export function tooCostly(schema: object): SchemaProblem | undefined {
  try {
    const cost = costOf(schema);
    if (cost <= mostValues) return undefined;
    throw new CostError(
      `it has ${cost} values when each "$ref" is replaced by its target, and the maximum is ${mostValues}`,
      'use a smaller one, or fewer references',
    );
  } catch (error) {
    if (error instanceof CostError) return error;
    throw error;
  }
}

class CostError extends Error implements SchemaProblem {
  override readonly cause: string;
  readonly remedy: string;

  constructor(cause: string, remedy: string) {
    super(cause);
    this.cause = cause;
    this.remedy = remedy;
  }
}

/** Like Ajv: a definition without references is copied, any other definition is compiled once. */
function costOf(schema: object): number {
  const parts = new Map<unknown, Part>();
  const whole = measure(schema, parts);
  const compiled = new Set([whole]);
  const copied = new Map<string, number>();
  for (const ref of new Set(whole.refs)) {
    const target = parts.get(targetOf(ref, schema));
    if (!target) {
      throw new CostError(
        `its "$ref" ${JSON.stringify(ref.slice(0, 100))} points to no part of the schema`,
        'point to a definition of the same schema, such as "#/$defs/item"',
      );
    }
    if (target.refs.length === 0) copied.set(ref, target.values);
    else compiled.add(target);
  }
  let cost = 0;
  for (const { values, refs } of compiled) {
    cost += refs.reduce((sum, ref) => sum + (copied.get(ref) ?? 0), values);
  }
  return cost;
}

function measure(value: object, parts: Map<unknown, Part>, depth = 1): Part {
  if (depth > deepest) {
    throw new CostError(`it is nested more than ${deepest} deep`, 'use a flatter one');
  }
  const part: Part = { values: 1, refs: [] };
  for (const [key, item] of Object.entries(value)) {
    // A second base URI would give each definition many names.
    if (key === '$id' && depth > 1 && typeof item === 'string') {
      throw new CostError('it has an "$id" below its top', 'omit it');
    }
    if (key === '$ref' && typeof item === 'string') part.refs.push(item);
    if (typeof item !== 'object' || item === null) {
      part.values += 1;
      continue;
    }
    const { values, refs } = measure(item, parts, depth + 1);
    part.values += values;
    for (const ref of refs) part.refs.push(ref);
  }
  parts.set(value, part);
  return part;
}

/** The target of a JSON pointer; other forms and spellings have no target. */
function targetOf(ref: string, schema: object): unknown {
  if (ref === '#') return schema;
  if (!ref.startsWith('#/') || ref.includes('%')) return undefined;
  let target: unknown = schema;
  for (const step of ref.slice(2).split('/')) {
    const key = step.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof target !== 'object' || target === null || !Object.hasOwn(target, key)) {
      return undefined;
    }
    target = (target as Record<string, unknown>)[key];
  }
  return target;
}
