/**
 * The sample `.claude` repository that `npm start` serves. Its files are real ones, in
 * scripts/start/sample/, so that they can be read and edited as what they are.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

const folder = join(import.meta.dirname, '../../scripts/start/sample');

/** Path in the repository -> content, as `createRepository` takes them. */
export function readSampleFiles(): Record<string, string> {
  const files: Record<string, string> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files[relative(folder, path)] = readFileSync(path, 'utf8');
  }
  return files;
}
