/**
 * Settings: a table of definitions is read from the environment into one typed object.
 * Every setting can also be given as NAME_FILE (the path of a file that holds the value). All
 * problems are reported at once, each with what was expected; a name that nothing knows is warned
 * about with the nearest known one. Nothing outside the two config.ts files calls this.
 */
import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { BerthError, messageOf } from './errors.ts';
import { knownSettings } from './known-settings.ts';
import { nearest } from './nearest.ts';

export interface Setting<T> {
  /** The environment variable: `BERTH_REPO`. */
  name: string;
  /** Other names that give the same setting, in order of precedence after `name`. */
  aliases?: readonly string[];
  /** Text in, value out; a failure's message says what was expected. */
  schema: z.ZodType<T, string>;
  /** The value if nothing is set, written as a person would write it; absent means required. */
  default?: string;
  /** True if the setting may be left out without a default: its value is then undefined. */
  optional?: boolean;
  /** True if the value must never be shown. */
  secret?: boolean;
  /** True if only tests set it: it works, but is neither documented nor suggested. */
  internal?: boolean;
  /** One or two sentences for docs/configuration.md. */
  description: string;
}

export interface OptionalSetting<T> extends Setting<T> {
  optional: true;
}

/** Only for its type: gives each definition its value type, and `T | undefined` where optional. */
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
  /** One sentence for each name that looks like a setting and is none. */
  warnings: string[];
}

/**
 * Reads all settings of `definitions` from `environment`.
 * @param check finds what is wrong between settings, among those that could be read
 * @throws BerthError `config_invalid` that lists every problem, one to a line
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

/** The variable that gives a setting its value: its name, an alias, or one of them with `_FILE`. */
export function nameInUse(
  definition: Setting<unknown>,
  environment: Environment,
): string | undefined {
  return findText(definition, environment)?.name;
}

/** The first name that is set wins; an empty value counts as not set, as in a Pod's env. */
function findText(
  definition: Setting<unknown>,
  environment: Environment,
): { name: string; text: string } | undefined {
  for (const name of [definition.name, ...(definition.aliases ?? [])]) {
    const text = environment[name];
    if (text) return { name, text };
    const path = environment[`${name}_FILE`];
    // BERTH_API_TOKENS_FILE and its like are settings of their own, not files of another setting.
    if (!path || knownSettings.includes(`${name}_FILE`)) continue;
    try {
      return { name: `${name}_FILE`, text: readFileSync(path, 'utf8').trim() };
    } catch (error) {
      throw new Error(`${name}_FILE: cannot read ${path}: ${messageOf(error)}`);
    }
  }
  return undefined;
}

/** Names that Kubernetes injects for a Service called berth are not misspelt settings. */
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
