/**
 * A volume, a real git server with one repository, and berth-init run on them within this process.
 * Everything lies in the test's own directory and ends with the test.
 */
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type InitConfig, readInitConfig } from '../../init/config.ts';
import { prepare } from '../../init/prepare.ts';
import type { InitReport } from '../../init/report.ts';
import { createLog, type Log } from '../../shared/log.ts';
import { testDirectory } from '../support/directory.ts';
import { type GitServer, startGitServer } from '../support/git-server.ts';
import { createRepository, type FileSpec, type Repository } from '../support/repository.ts';

export const token = 'canary-token-0123456789';

export interface Line {
  level: string;
  event: string;
  msg: string;
  [field: string]: unknown;
}

export interface Harbour {
  directory: string;
  volume: string;
  server: GitServer;
  repository: Repository;
  url: string;
  /** Every line logged so far. */
  lines: Line[];
  log: Log;
  environment(overrides?: Record<string, string>): Record<string, string>;
  config(overrides?: Record<string, string>): InitConfig;
  run(overrides?: Record<string, string>, signal?: AbortSignal): Promise<InitReport>;
  /** The text at a path of the volume, undefined if there is none. */
  read(path: string): string | undefined;
  /** Everything on the volume but berth's state and `.claude.json`: path -> text, or `-> target`. */
  tree(): Record<string, string>;
  /** The paths of everything saved in conflicts/, without the directory that names the run. */
  conflicts(): string[];
  events(name: string): Line[];
}

export async function openHarbour(
  t: Test,
  files: Record<string, FileSpec> = { 'CLAUDE.md': '# one\n', 'settings.json': '{}\n' },
): Promise<Harbour> {
  const directory = testDirectory(t, { volume: {}, repositories: {}, secrets: {} });
  const volume = join(directory, 'volume');
  const root = join(directory, 'repositories');
  const repository = createRepository(root, 'me/claude', files);
  const server = await startGitServer({ root, token });
  t.teardown(() => server.close());
  const url = server.repositoryUrl('me/claude').replace(/\.git$/, '');
  const { lines, log } = captureLog();

  const environment = (overrides: Record<string, string> = {}) => ({
    BERTH_REPO: url,
    BERTH_GIT_TOKEN: token,
    BERTH_CONFIG_DIR: volume,
    BERTH_CREDENTIALS_SOURCE: join(directory, 'secrets/credentials.json'),
    BERTH_TERMINATION_LOG: join(directory, 'termination-log'),
    ...overrides,
  });
  const config = (overrides?: Record<string, string>) =>
    readInitConfig(environment(overrides)).config;

  return {
    directory,
    volume,
    server,
    repository,
    url,
    lines,
    log,
    environment,
    config,
    run: (overrides, signal = new AbortController().signal) =>
      prepare(config(overrides), log, signal),
    read: (path) => readText(join(volume, path)),
    tree: () => treeOf(volume),
    conflicts: () => conflictsIn(volume),
    events: (name) => lines.filter(({ event }) => event === name),
  };
}

export function captureLog(): { lines: Line[]; log: Log } {
  const lines: Line[] = [];
  const log = createLog({
    service: 'test',
    version: '0',
    level: 'debug',
    pretty: false,
    destination: { write: (line) => void lines.push(JSON.parse(line)) },
  });
  return { lines, log };
}

function readText(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

export function treeOf(root: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const path of walk(root)) {
    if (path.startsWith('.berth/') || path === '.claude.json') continue;
    const full = join(root, path);
    const isLink = lstatSync(full).isSymbolicLink();
    found[path] = isLink ? `-> ${readlinkSync(full)}` : readFileSync(full, 'utf8');
  }
  return found;
}

export function conflictsIn(volume: string): string[] {
  const conflicts = join(volume, '.berth/conflicts');
  const paths = existsSync(conflicts) ? walk(conflicts) : [];
  return paths.map((path) => path.slice(path.indexOf('/') + 1)).sort();
}

/** Every file and symlink below `root`, relative. */
export function walk(root: string, prefix = ''): string[] {
  return readdirSync(join(root, prefix), { withFileTypes: true })
    .flatMap((entry) => {
      const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
      return entry.isDirectory() ? walk(root, path) : [path];
    })
    .sort();
}

/** A volume's directory, made anew. */
export function makeDirectory(path: string): string {
  mkdirSync(path, { recursive: true });
  return path;
}
