/**
 * Builds the bundle of the supervisor, and returns how its image starts the bundle: with V8's code
 * cache, made while the image is built, and with the flags of its Dockerfile. Figures:
 * docs/performance.md.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BuildOptions, Plugin } from 'esbuild';
import { leanSupervisor } from './lean.ts';

const root = join(import.meta.dirname, '..');

/** Inlines the text of the documents that the server serves into the bundle. */
const documents: Plugin = {
  name: 'documents',
  setup(build) {
    build.onLoad({ filter: /supervisor\/http\/read-document\.ts$/ }, () => {
      const read = (name: string) => readFileSync(join(root, 'docs', name), 'utf8');
      const openapi = JSON.stringify(JSON.parse(read('openapi.json')));
      const texts = JSON.stringify({ 'openapi.json': openapi, 'api.html': read('api.html') });
      return {
        contents: `const texts = ${texts}; export const readDocument = (name) => texts[name];`,
      };
    });
  },
};

/**
 * Names are not shortened. Shortened names would need `keepNames` for readable logs, and
 * `keepNames` costs a call for each created closure, also at each prompt.
 */
export const supervisorBundle: BuildOptions = {
  absWorkingDir: root,
  entryPoints: {
    berth: 'supervisor/main.ts',
    'job-thread': 'supervisor/jobs/sqlite/job-thread.ts',
    'schema-thread': 'supervisor/profiles/schema-thread.ts',
  },
  outExtension: { '.js': '.mjs' },
  plugins: [documents, ...leanSupervisor],
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: 'linked',
  // CommonJS dependencies call require for Node's own modules.
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
  },
  logLevel: 'warning',
  metafile: true,
};

export interface ImageStart {
  /** The arguments of Node.js, the bundle last. */
  arguments: string[];
  environment: Record<string, string>;
}

/**
 * Reads from Dockerfile.runtime how the image starts a bundle in `directory`, so that benchmarks
 * run the same command.
 */
export function imageStart(directory: string): ImageStart {
  const dockerfile = readFileSync(join(root, 'Dockerfile.runtime'), 'utf8');
  const entry = JSON.parse(/^ENTRYPOINT (\[.*\])$/m.exec(dockerfile)?.[1] ?? '[]') as string[];
  const named = (name: string): string =>
    new RegExp(`\\b${name}=(\\S+)`).exec(dockerfile)?.[1] ?? '';
  const here = (text: string): string => text.replace('/app/', `${directory}/`);
  return {
    arguments: entry.slice(entry.indexOf('node') + 1).map(here),
    environment: {
      NODE_COMPILE_CACHE: here(named('NODE_COMPILE_CACHE')),
      MALLOC_ARENA_MAX: named('MALLOC_ARENA_MAX'),
    },
  };
}

/** Makes the code cache for the bundle in `directory`, as the image build does. */
export function makeCodeCache(directory: string): void {
  const { arguments: given, environment } = imageStart(directory);
  const threads = ['job-thread.mjs', 'schema-thread.mjs'].map((name) => join(directory, name));
  for (const program of [[...given.slice(-1), '--version'], ...threads.map((path) => [path])]) {
    execFileSync(process.execPath, [...given.slice(0, -1), ...program], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }
}
