/** Bundles each program into one file in dist/, for the images. */
import { build } from 'esbuild';

const programs = { 'berth-init': 'init/main.ts', berth: 'supervisor/main.ts' };

await Promise.all(
  Object.entries(programs).map(([name, entry]) =>
    build({
      entryPoints: [entry],
      outfile: `dist/${name}.mjs`,
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
    }),
  ),
);
