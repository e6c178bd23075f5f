/** Bundles each program into dist/, for the images. */
import { globSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type BuildOptions, build } from 'esbuild';
import { lean } from './lean.ts';

const programs: BuildOptions[] = [
  {
    entryPoints: { 'berth-init': 'init/main.ts' },
    plugins: lean,
    // What is imported when it is needed becomes a file of its own, so that it is not even parsed.
    splitting: true,
    chunkNames: 'berth-init/[name]-[hash]',
  },
  { entryPoints: { berth: 'supervisor/main.ts' } },
];

const results = await Promise.all(
  programs.map((options) =>
    build({
      outdir: 'dist',
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
      ...options,
    }),
  ),
);

// Pieces of earlier builds; only now, for another process may be starting the old one.
const made = new Set(results.flatMap(({ metafile }) => Object.keys(metafile?.outputs ?? {})));
for (const file of globSync('dist/**', { withFileTypes: true })) {
  const path = join(file.parentPath, file.name);
  if (file.isFile() && !made.has(path)) await rm(path);
}
