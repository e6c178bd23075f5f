/**
 * Reads a JSON file of berth's state on the volume: bounded, versioned, validated. A newer version
 * is never used.
 */
import type { z } from 'zod';
import { BerthError, isPassing, messageOf } from './errors.ts';
import { readFileBounded, unreadable } from './files.ts';

export type Read<T> =
  | { kind: 'absent' }
  | { kind: 'valid'; value: T }
  | { kind: 'damaged'; reason: string };

/**
 * Reads a JSON file of berth's state, validated against `schema` (version 1).
 * @throws BerthError `volume_damaged` if its version is newer; `volume_unwritable` if it cannot be read just now
 */
export async function readVersioned<T>(
  path: string,
  schema: z.ZodType<T>,
  limit: number,
): Promise<Read<T>> {
  let json: unknown;
  try {
    const content = await readFileBounded(path, limit);
    if (content === undefined) return { kind: 'absent' };
    json = JSON.parse(content.toString('utf8'));
  } catch (error) {
    if (isPassing(error)) throw unreadable(path, error);
    return { kind: 'damaged', reason: messageOf(error) };
  }
  const version = (json as { version?: unknown } | null)?.version;
  if (typeof version === 'number' && version > 1) {
    throw new BerthError(
      'volume_damaged',
      `cannot use the volume: ${path} has the format version ${version}, which this version of berth does not support; run the newer version that wrote it`,
    );
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return { kind: 'valid', value: parsed.data };
  const [issue] = parsed.error.issues;
  return { kind: 'damaged', reason: `${issue?.path.join('.')}: ${issue?.message}` };
}
