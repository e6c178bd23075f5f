/** Bundles each program into dist/, for the images. */
import { globSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { initBundle } from './bundle-init.ts';
import { supervisorBundle } from './bundle-supervisor.ts';

const outdir = 'dist';

const results = await Promise.all(
  [initBundle, supervisorBundle].map((options) => build({ outdir, ...options })),
);

// Removes pieces of earlier builds. Not before the build, because another process may be starting
// the old bundle.
const made = new Set(results.flatMap(({ metafile }) => Object.keys(metafile?.outputs ?? {})));
for (const file of globSync('dist/**', { withFileTypes: true })) {
  const path = join(file.parentPath, file.name);
  if (file.isFile() && !made.has(path)) await rm(path);
}
