/**
 * Reads settings from the environment into one typed object, by a table of definitions.
 * Invariants: every setting also exists as NAME_FILE, the path of a file with the value. All
 * problems are reported at once, each with the expected value. An unknown name gets a warning with
 * the nearest known name. Only the two config.ts files use this module.
 */
import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { BerthError, messageOf } from './errors.ts';
import { knownSettings } from './known-settings.ts';
import { nearest } from './nearest.ts';

export interface Setting<T> {
  /** The environment variable: `BERTH_REPO`. */
  name: string;
  /** Other names of the setting, in order of precedence after `name`. */
  aliases?: readonly string[];
  /** Maps text to a value. An error message of the schema states the expected value. */
  schema: z.ZodType<T, string>;
  /**
   * The value if nothing is set, in the notation of a user; absent means that the setting is
   * required.
   */
  default?: string;
  /** True if the setting may be absent without a default: the value is then undefined. */
  optional?: boolean;
  /** True if the value must never be logged or shown. */
  secret?: boolean;
  /** True if only tests use the setting: it works, but is neither documented nor suggested. */
  internal?: boolean;
  /** One or two sentences for docs/configuration.md. */
  description: string;
}

export interface OptionalSetting<T> extends Setting<T> {
  optional: true;
}

/**
 * Exists for its type only: gives each definition its value type, and `T | undefined` if optional.
 */
export function setting<T>(definition: OptionalSetting<T>): OptionalSetting<T>;
export function setting<T>(definition: Setting<T>): Setting<T>;
export function setting<T>(definition: Setting<T>): Setting<T> {
  return definition;
}

export type Definitions = Record<string, Setting<unknown>>;

export type Settings<D extends Definitions> = {
  -readonly [K in keyof D]: D[K] extends OptionalSetting<infer T>
    ? T | undefined
    : D[K] extends Setting<infer T>
      ? T
      : never;
};

export type Environment = Readonly<Record<string, string | undefined>>;

export interface ReadResult<D extends Definitions> {
  settings: Settings<D>;
  /** One sentence for each name that looks like a setting but is unknown. */
  warnings: string[];
}

/**
 * Reads all settings of `definitions` from `environment`.
 * @param check finds problems between settings; it receives the settings that could be read
 * @throws BerthError `config_invalid` that lists every problem, one on each line
 */
export function readSettings<const D extends Definitions>(
  definitions: D,
  environment: Environment,
  check: (settings: Partial<Settings<D>>) => string[] = () => [],
): ReadResult<D> {
  const problems: string[] = [];
  const settings: Record<string, unknown> = {};
  for (const [key, definition] of Object.entries(definitions)) {
    try {
      settings[key] = readOne(definition, environment);
    } catch (error) {
      problems.push(messageOf(error));
    }
  }
  problems.push(...check(settings as Partial<Settings<D>>));
  const warnings = unknownNames(environment);
  if (problems.length > 0) {
    const list = [...problems, ...warnings].map((line) => `  - ${line}`).join('\n');
    throw new BerthError(
      'config_invalid',
      `cannot use the configuration: ${problems.length} setting${problems.length > 1 ? 's are' : ' is'} wrong; correct the environment of the container:\n${list}`,
      { details: { problems } },
    );
  }
  return { settings: settings as Settings<D>, warnings };
}

function readOne(definition: Setting<unknown>, environment: Environment): unknown {
  const found = findText(definition, environment);
  const text = found?.text ?? definition.default;
  if (text === undefined) {
    if (definition.optional) return undefined;
    throw new Error(`${definition.name} is required: ${definition.description}`);
  }
  const parsed = definition.schema.safeParse(text);
  if (parsed.success) return parsed.data;
  const shown = definition.secret ? 'its value' : JSON.stringify(text);
  const expected = parsed.error.issues.map((issue) => issue.message).join(', ');
  throw new Error(`${found?.name ?? definition.name}: ${shown} is not valid, expected ${expected}`);
}

/**
 * The variable that provides the value of a setting: its name, an alias, or one of them with
 * `_FILE`.
 */
export function nameInUse(
  definition: Setting<unknown>,
  environment: Environment,
): string | undefined {
  return findText(definition, environment)?.name;
}

/** The first name with a value wins; an empty value counts as not set, as in a Pod's env. */
function findText(
  definition: Setting<unknown>,
  environment: Environment,
): { name: string; text: string } | undefined {
  for (const name of [definition.name, ...(definition.aliases ?? [])]) {
    const text = environment[name];
    if (text) return { name, text };
    const path = environment[`${name}_FILE`];
    // A name such as BERTH_API_TOKENS_FILE is a separate setting, not the file of another setting.
    if (!path || knownSettings.includes(`${name}_FILE`)) continue;
    try {
      return { name: `${name}_FILE`, text: readFileSync(path, 'utf8').trim() };
    } catch (error) {
      throw new Error(`${name}_FILE: cannot read ${path}: ${messageOf(error)}`);
    }
  }
  return undefined;
}

/** Kubernetes injects these names for a Service called berth; they are not misspelt settings. */
const injected = /^BERTH_(PORT|SERVICE_|[A-Z0-9_]*_(PORT|SERVICE)(_|$))/;

function unknownNames(environment: Environment): string[] {
  const warnings: string[] = [];
  for (const name of Object.keys(environment)) {
    if (!name.startsWith('BERTH_')) continue;
    const base = name.endsWith('_FILE') ? name.slice(0, -'_FILE'.length) : name;
    if (knownSettings.includes(name) || knownSettings.includes(base)) continue;
    if (injected.test(name)) continue;
    const near = nearest(base, knownSettings);
    warnings.push(`${name} is not a setting${near ? `; did you mean ${near}?` : ''}`);
  }
  return warnings;
}
