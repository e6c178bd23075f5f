/**
 * Holds the direction of imports against the house's rules (docs/architecture.md); run by
 * `npm run check` and by a test. Prints each violation and fails if there is one.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Which folder may import from which; within the supervisor, only downwards. */
const allowed: Record<string, readonly string[]> = {
  shared: ['shared', 'package.json'],
  init: ['init', 'shared'],
  supervisor: ['supervisor', 'shared'],
  'supervisor/http': ['supervisor/http', 'supervisor/sessions', 'supervisor/profiles', 'shared'],
  'supervisor/sessions': [
    'supervisor/sessions',
    'supervisor/profiles',
    'supervisor/pool',
    'supervisor/claude',
    'shared',
  ],
  'supervisor/profiles': ['supervisor/profiles', 'supervisor/claude', 'shared'],
  'supervisor/pool': ['supervisor/pool', 'supervisor/claude', 'shared'],
  'supervisor/claude': ['supervisor/claude', 'shared'],
  'supervisor/memory': ['supervisor/memory', 'shared'],
  'supervisor/credentials': ['supervisor/credentials', 'shared'],
  'supervisor/configuration': ['supervisor/configuration', 'shared'],
  'supervisor/write-back': ['supervisor/write-back', 'supervisor/credentials', 'shared'],
  'supervisor/doctor': [
    'supervisor/doctor',
    'supervisor/credentials',
    'supervisor/profiles',
    'supervisor/claude',
    'supervisor/memory/limit.ts',
    'supervisor/config.ts',
    'shared',
  ],
  'supervisor/login': [
    'supervisor/login',
    'supervisor/credentials',
    'supervisor/claude',
    'supervisor/config.ts',
    'shared',
  ],
};

/** What only some files may do. */
const reserved: readonly { what: string; pattern: RegExp; only: RegExp }[] = [
  {
    what: 'starts processes',
    pattern: /from 'node:child_process'/,
    only: /^supervisor\/claude\//,
  },
  {
    what: 'reads cgroup or /proc',
    pattern: /['"`]\/(proc|sys\/fs\/cgroup)\b/,
    only: /^(supervisor\/memory\/|shared\/lease-witness\.ts$)/,
  },
  {
    what: 'reads the environment',
    pattern: /process\.env\b/,
    only: /^(init|supervisor)\/(main|config)\.ts$/,
  },
  {
    what: 'exits',
    pattern: /process\.(exit\(|exitCode)/,
    only: /^(init|supervisor)\/main\.ts$/,
  },
];

/** Every violation in the sources below `root`, as a sentence. */
export function findViolations(root: string): string[] {
  return globSync('{shared,init,supervisor}/**/*.ts', { cwd: root })
    .sort()
    .flatMap((file) => violationsIn(file, readFileSync(join(root, file), 'utf8')));
}

export function violationsIn(file: string, source: string): string[] {
  const folders = allowed[dirname(file)] ?? [];
  const imports = [...source.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)]
    .map(([, path = '']) => normalize(join(dirname(file), path)))
    .filter((target) => !folders.some((folder) => isWithin(target, folder)))
    .map((target) => `${file} may not import ${target}`);
  const doings = reserved
    .filter(({ pattern, only }) => pattern.test(source) && !only.test(file))
    .map(({ what }) => `${file} ${what}, which is not its place`);
  return [...imports, ...doings];
}

/** `supervisor` stands for its own files and its folders; others for their files alone. */
function isWithin(target: string, folder: string): boolean {
  return folder === 'supervisor'
    ? target.startsWith('supervisor/')
    : dirname(target) === folder || target === folder;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const violations = findViolations(process.cwd());
  for (const violation of violations) process.stderr.write(`${violation}\n`);
  process.exitCode = violations.length > 0 ? 1 : 0;
}
