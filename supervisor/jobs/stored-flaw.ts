/**
 * Why a stored job cannot be read, in words for the log.
 * Invariant: the words have no stored text. The messages of the parsers of JSON and of schemas quote what they have read,
 * which may be a prompt or the URL of a callback.
 */
import { z } from 'zod';
import { systemCode } from '../../shared/errors.ts';

/** A cause in fixed words. */
export class StoredFlaw extends Error {}

/** @param error what a parser of job-schema.ts, or the read of a file, has thrown */
export function flawOf(error: unknown): string {
  if (error instanceof StoredFlaw) return error.message;
  if (error instanceof z.ZodError) return fieldsOf(error);
  if (error instanceof SyntaxError) return 'it is not JSON';
  return systemCode(error) ?? 'it cannot be read';
}

/** The names of the fields. Only a first name is one of berth: those within `metadata` are of callers. */
function fieldsOf({ issues }: z.ZodError): string {
  const names = issues.map(({ code, path }) => {
    if (code === 'unrecognized_keys') return 'a field that this berth does not know';
    return path[0] === undefined ? 'no object' : String(path[0]);
  });
  return `it is not valid: ${[...new Set(names)].slice(0, 5).join(', ')}`;
}
