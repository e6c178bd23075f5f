/**
 * Builds the environment of worker threads.
 * Invariant: a thread gets the directory of compiled code and no other variable of the process, so no secret.
 */
import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';

/**
 * Returns the environment of a worker thread: nothing of the process, whose variables may hold secrets, except where
 * Node.js keeps compiled code. Without that, each thread compiles its modules again (100 instead of 90 ms of CPU for a
 * bundle, 300 instead of 160 ms for TypeScript files).
 * @param compiled the directory that Node.js uses. Its name is Node.js's version; the setting is the directory above.
 */
export function threadEnvironment(compiled = getCompileCacheDir()): Record<string, string> {
  return compiled ? { NODE_COMPILE_CACHE: dirname(compiled) } : {};
}
