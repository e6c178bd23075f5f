/** Bundles each program into dist/, for the images. */
import { globSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { initBundle } from './bundle-init.ts';

const outdir = 'dist';

const supervisorBundle: BuildOptions = {
  entryPoints: { berth: 'supervisor/main.ts' },
  outExtension: { '.js': '.mjs' },
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  minify: true,
  keepNames: true,
  legalComments: 'linked',
  // Dependencies that are CommonJS call require for Node's own modules.
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
  },
  logLevel: 'warning',
  metafile: true,
};

const results = await Promise.all(
  [initBundle, supervisorBundle].map((options) => build({ outdir, ...options })),
);

// Pieces of earlier builds; only now, for another process may be starting the old one.
const made = new Set(results.flatMap(({ metafile }) => Object.keys(metafile?.outputs ?? {})));
for (const file of globSync('dist/**', { withFileTypes: true })) {
  const path = join(file.parentPath, file.name);
  if (file.isFile() && !made.has(path)) await rm(path);
}
