/** Reads a document of docs/ that the server serves. In the bundle the texts replace this file. */
import { readFileSync } from 'node:fs';

export function readDocument(name: 'openapi.json' | 'api.html'): string {
  return readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
}
