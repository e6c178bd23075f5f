/**
 * Bounds the number of JSON values in a body, and their levels.
 * Invariant: a text is counted before it is parsed. Parsed lists and objects need up to thirty times the bytes of their
 * text.
 */
import { BerthError } from '../../shared/errors.ts';
import { deepest, isDeeperThan } from '../../shared/json-depth.ts';

/**
 * The most JSON values in an `output_schema`, and in the rest of a body. The validation makes a message for each
 * wrong value of the rest: 10,000 of them would block the server for 100 ms.
 */
const mostValues = { schema: 12_000, rest: 2_000 };

/**
 * Counts the values in the texts of one body, before they are parsed. An empty list or object counts twice, so the limit
 * is twice that of the parsed body.
 */
export class ValuesInTexts {
  readonly #most: number;
  #seen = 0;

  /** @param most values besides `output_schema`, for a body that is read one value after the other */
  constructor(most = mostValues.rest) {
    this.#most = most;
  }

  /** @throws BerthError `payload_too_large` */
  add(text: string): void {
    const limit = 2 * (this.#most + mostValues.schema);
    this.#seen += countValues(text, limit - this.#seen);
    if (this.#seen > limit) throw tooManyValues(this.#most);
  }
}

/**
 * Checks a parsed body.
 * @param most as above
 * @throws BerthError `payload_too_large`, `invalid_request`
 */
export function assertFewValues(body: unknown, most = mostValues.rest): void {
  if (hasTooManyValues(body, most)) throw tooManyValues(most);
  if (!isTooDeep(body)) return;
  throw new BerthError(
    'invalid_request',
    `cannot read the request: its body has more than ${deepest} levels of lists and objects; send data of so many levels as text in the prompt`,
  );
}

function tooManyValues(most: number): BerthError {
  return new BerthError(
    'payload_too_large',
    `cannot read the request: its body has more than ${most} values besides output_schema, or ${mostValues.schema} in it; put large input into the prompt, or into files of the workspace`,
  );
}

/**
 * Each value except the first follows a comma or the beginning of a list or an object.
 * @returns at most `most + 1`
 */
function countValues(text: string, most: number): number {
  let seen = 0;
  for (let at = 0; at < text.length && seen <= most; at++) {
    const sign = text[at];
    if (sign === ',' || sign === '{' || sign === '[') seen += 1;
    if (sign === '"') at = endOfString(text, at);
  }
  return seen;
}

/** The position of the quote that ends the string that begins at `start`; the end of the text if there is none. */
function endOfString(text: string, start: number): number {
  for (let end = start; ; ) {
    end = text.indexOf('"', end + 1);
    if (end < 0) return text.length;
    let before = end - 1;
    while (text[before] === '\\') before -= 1;
    // An even number of backslashes are characters of the string.
    if ((end - before) % 2 === 1) return end;
  }
}

function hasTooManyValues(body: unknown, most: number): boolean {
  if (typeof body !== 'object' || body === null) return false;
  const { output_schema: schema, ...rest } = body as Record<string, unknown>;
  return hasMoreValues(schema, mostValues.schema) || hasMoreValues(rest, most);
}

/** Besides `output_schema`, whose check has its own bound. */
function isTooDeep(body: unknown): boolean {
  if (typeof body !== 'object' || body === null) return false;
  const { output_schema: _, ...rest } = body as Record<string, unknown>;
  return isDeeperThan(rest, deepest);
}

/** Stops counting at `most`. */
function hasMoreValues(body: unknown, most: number): boolean {
  const rest = [body];
  for (let seen = 0; rest.length > 0; seen++) {
    if (seen + rest.length > most) return true;
    const value = rest.pop();
    if (typeof value !== 'object' || value === null) continue;
    if (Array.isArray(value) && value.length > most) return true;
    for (const key in value) {
      if (rest.push((value as Record<string, unknown>)[key]) > most) return true;
    }
  }
  return false;
}
