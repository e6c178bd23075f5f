/**
 * Checks the direction of imports against the rules of docs/architecture.md. `npm run check` and a
 * test run it. It prints each violation and fails if there is one.
 */
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * The folders and files from which a folder may import, besides itself and shared/. A folder stands
 * for its own files, not for its subfolders.
 */
const allowed: Record<string, readonly string[]> = {
  shared: ['package.json'],
  init: [
    ...['init/cli', 'init/gateway', 'init/git', 'init/github', 'init/login', 'init/reconcile'],
    ...['init/proposals', 'init/source', 'init/sync', 'init/volume'],
  ],
  'init/git': [],
  'init/cli': ['init/git'],
  'init/volume': ['init/git'],
  'init/github': ['init/git', 'init/volume'],
  'init/gateway': [
    ...['init/git', 'init/github', 'init/config.ts', 'init/sync/service.ts'],
    'init/proposals/settings.ts',
  ],
  'init/login': ['init/volume'],
  'init/reconcile': ['init/git', 'init/volume'],
  'init/proposals': [
    ...['init/git', 'init/github', 'init/reconcile', 'init/volume'],
    ...['init/config.ts', 'init/sync/service.ts'],
  ],
  'init/source': [
    ...['init/git', 'init/github', 'init/reconcile', 'init/volume'],
    ...['init/config.ts', 'init/report.ts'],
  ],
  'init/sync': [
    ...['init/git', 'init/reconcile', 'init/source', 'init/volume'],
    ...['init/config.ts', 'init/prepare.ts', 'init/report.ts'],
  ],
  supervisor: [
    ...['supervisor/boot', 'supervisor/claude', 'supervisor/cli', 'supervisor/credentials'],
    ...[
      'supervisor/doctor',
      'supervisor/http',
      'supervisor/http/mcp',
      'supervisor/login',
      'supervisor/memory',
    ],
    ...['supervisor/profiles', 'supervisor/sessions', 'supervisor/wiring', 'supervisor/write-back'],
    'supervisor/jobs/callbacks',
  ],
  'supervisor/wiring': [
    ...['supervisor/approvals', 'supervisor/attachments', 'supervisor/boot', 'supervisor/claude'],
    'supervisor/cli',
    'supervisor/configuration',
    ...['supervisor/credentials', 'supervisor/http', 'supervisor/memory', 'supervisor/metrics'],
    ...['supervisor/jobs', 'supervisor/jobs/callbacks', 'supervisor/jobs/redis'],
    ...['supervisor/health', 'supervisor/pool'],
    ...['supervisor/conversations', 'supervisor/profiles', 'supervisor/prompts'],
    ...['supervisor/sessions', 'supervisor/spending', 'supervisor/config.ts'],
    ...['supervisor/jobs/sqlite', 'supervisor/workspaces'],
  ],
  'supervisor/http': [
    ...['supervisor/jobs', 'supervisor/prompts', 'supervisor/sessions', 'supervisor/profiles'],
    ...['supervisor/attachments', 'supervisor/http/compatible', 'supervisor/http/mcp'],
    ...['supervisor/jobs/callbacks', 'supervisor/workspaces'],
  ],
  'supervisor/http/compatible': [
    ...['supervisor/http', 'supervisor/conversations', 'supervisor/prompts', 'supervisor/sessions'],
    'supervisor/attachments',
  ],
  'supervisor/conversations': [
    ...['supervisor/prompts', 'supervisor/profiles', 'supervisor/sessions'],
    'supervisor/attachments',
  ],
  'supervisor/http/mcp': ['supervisor/http', 'supervisor/jobs', 'supervisor/profiles'],
  'supervisor/metrics': [
    ...['supervisor/approvals', 'supervisor/boot', 'supervisor/claude', 'supervisor/configuration'],
    'supervisor/conversations',
    ...['supervisor/credentials', 'supervisor/jobs', 'supervisor/memory', 'supervisor/pool'],
    ...['supervisor/prompts', 'supervisor/sessions', 'supervisor/workspaces'],
  ],
  'supervisor/attachments': ['supervisor/claude'],
  'supervisor/approvals': ['supervisor/claude', 'supervisor/profiles'],
  'supervisor/health': ['supervisor/claude', 'supervisor/profiles'],
  'supervisor/prompts': [
    ...['supervisor/approvals', 'supervisor/attachments', 'supervisor/workspaces'],
    ...['supervisor/claude', 'supervisor/pool', 'supervisor/profiles', 'supervisor/sessions'],
    ...['supervisor/health', 'supervisor/spending'],
  ],
  'supervisor/jobs': [
    ...['supervisor/prompts', 'supervisor/profiles', 'supervisor/sessions', 'supervisor/spending'],
    ...['supervisor/approvals', 'supervisor/attachments', 'supervisor/workspaces'],
  ],
  'supervisor/jobs/callbacks': ['supervisor/jobs'],
  'supervisor/jobs/redis': ['supervisor/attachments', 'supervisor/jobs', 'supervisor/sessions'],
  'supervisor/jobs/sqlite': ['supervisor/jobs'],
  'supervisor/spending': ['supervisor/claude', 'supervisor/profiles', 'supervisor/sessions'],
  'supervisor/sessions': ['supervisor/claude'],
  'supervisor/workspaces': ['supervisor/claude/git.ts', 'supervisor/sessions'],
  'supervisor/pool': ['supervisor/claude'],
  'supervisor/profiles': [
    ...['supervisor/attachments', 'supervisor/claude'],
    'supervisor/workspaces/repository-list.ts',
    'supervisor/workspaces/workspace-request.ts',
  ],
  'supervisor/claude': [],
  'supervisor/memory': ['supervisor/claude/locks.ts'],
  'supervisor/credentials': ['supervisor/claude/locks.ts'],
  'supervisor/configuration': [],
  'supervisor/boot': [],
  'supervisor/cli': [
    ...['supervisor/claude', 'supervisor/memory/kill-marked.ts', 'supervisor/config.ts'],
  ],
  'supervisor/write-back': [
    ...['supervisor/credentials', 'supervisor/config.ts', 'supervisor/run-service.ts'],
    ...['supervisor/http/listen.ts', 'supervisor/http/probes.ts'],
  ],
  'supervisor/doctor': [
    ...['supervisor/credentials', 'supervisor/profiles', 'supervisor/claude'],
    ...['supervisor/memory/cgroup.ts', 'supervisor/config.ts', 'supervisor/jobs/callbacks'],
  ],
  'supervisor/login': ['supervisor/credentials', 'supervisor/claude', 'supervisor/config.ts'],
};

/** The files that may be directly in these folders. */
const loose: Record<string, readonly string[]> = {
  init: ['main', 'config', 'prepare', 'check', 'check-access', 'report'],
  supervisor: ['main', 'serve', 'run-service', 'supervisor', 'config'],
};

/** Actions that only some files may perform. */
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

/** Returns every violation in the sources below `root`, as a sentence. */
export function findViolations(root: string): string[] {
  const sources = globSync('{shared,init,supervisor}/**/*.ts', { cwd: root })
    .sort()
    .map((file): Source => [file, readFileSync(join(root, file), 'utf8')]);
  return [
    ...sources.flatMap(([file, source]) => violationsIn(file, source)),
    ...circlesIn(sources),
  ];
}

type Source = [file: string, text: string];

export function violationsIn(file: string, source: string): string[] {
  const folder = dirname(file);
  const folders = [folder, 'shared', ...(allowed[folder] ?? [])];
  const isListed = !loose[folder] || loose[folder].includes(basename(file, '.ts'));
  const place =
    isListed && allowed[folder]
      ? []
      : [`${file} is in a folder or has a name that scripts/imports.ts does not list`];
  const imports = importsOf(file, source)
    .filter((target) => !folders.some((each) => dirname(target) === each || target === each))
    .map((target) => `${file} may not import ${target}`);
  const actions = reserved
    .filter(({ pattern, only }) => pattern.test(source) && !only.test(file))
    .map(({ what }) => `${file} ${what}, which is not allowed in this file`);
  return [...place, ...imports, ...actions];
}

/** Returns each import cycle, with its path. */
export function circlesIn(sources: readonly Source[]): string[] {
  const imports = new Map(sources.map(([file, source]) => [file, importsOf(file, source)]));
  const done = new Set<string>();
  const circles: string[] = [];
  const follow = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      circles.push(`${[...path.slice(path.indexOf(file)), file].join(' -> ')} is an import cycle`);
    } else if (!done.has(file)) {
      for (const target of imports.get(file) ?? []) follow(target, [...path, file]);
      done.add(file);
    }
  };
  for (const file of imports.keys()) follow(file, []);
  return circles;
}

function importsOf(file: string, source: string): string[] {
  return [...source.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(([, path = '']) =>
    normalize(join(dirname(file), path)),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const violations = findViolations(process.cwd());
  for (const violation of violations) process.stderr.write(`${violation}\n`);
  process.exitCode = violations.length > 0 ? 1 : 0;
}
