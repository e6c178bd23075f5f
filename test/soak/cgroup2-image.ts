/**
 * Builds the disk of the virtual machine: a root file system with busybox, Node.js, the CLI, the tests and
 * the packages that they use. mke2fs writes it without a mount.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  constants,
  copyFileSync,
  cpSync,
  mkdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { commandPath } from './cgroup2-downloads.ts';

const repository = join(import.meta.dirname, '../..');

/** Packages that no test of the guest loads; they would double the disk. */
const unused = new Set([
  ...['.cache', '@biomejs', '@esbuild', '@grafana', '@kubernetes', '@kubernetes-models'],
  ...['@typescript', 'kubernetes-models', 'typescript'],
]);

export interface ImageOptions {
  /** Gets `root` (removed by the caller) and `disk`. */
  directory: string;
  busybox: string;
  /** The arguments of the guest program. */
  arguments: readonly string[];
}

/** Returns the path of the disk. */
export function buildImage({ directory, busybox, arguments: words }: ImageOptions): string {
  const root = join(directory, 'root');
  for (const name of ['bin', 'dev', 'proc', 'sys', 'tmp', 'root', 'etc', 'usr']) {
    mkdirSync(join(root, name), { recursive: true });
  }
  copyFileSync(busybox, join(root, 'bin/busybox'));
  symlinkSync('../bin', join(root, 'usr/bin'));
  symlinkSync('/berth/node_modules/node/bin/node', join(root, 'bin/node'));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/bash\n');
  writeFileSync(join(root, 'etc/hosts'), '127.0.0.1 localhost\n');
  writeFileSync(join(root, 'arguments'), words.join(' '));
  copyFileSync(join(import.meta.dirname, 'cgroup2-init.sh'), join(root, 'init'));
  chmodSync(join(root, 'init'), 0o755);
  for (const name of ['bash', 'unshare']) addProgram(root, name);
  addRepository(join(root, 'berth'));
  for (const name of ['node/bin/node', '@anthropic-ai/claude-code/bin/claude.exe']) {
    addLibraries(root, join(repository, 'node_modules', name));
  }
  const disk = join(directory, 'disk');
  const options = ['-q', '-t', 'ext4', '-E', 'root_owner=0:0', '-d', root, disk, '3G'];
  execFileSync(commandPath('mke2fs') ?? 'mke2fs', options);
  return disk;
}

function addProgram(root: string, name: string): void {
  const path = commandPath(name) ?? name;
  copyFileSync(path, join(root, 'bin', name));
  addLibraries(root, path);
}

function addLibraries(root: string, program: string): void {
  const text = execFileSync('ldd', [program], { encoding: 'utf8' });
  for (const [path] of text.matchAll(/\/\S+(?= \(0x)/g)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    copyFileSync(path, join(root, path));
  }
}

function addRepository(to: string): void {
  const copy = (name: string, filter: (path: string) => boolean = () => true) =>
    cpSync(join(repository, name), join(to, name), {
      recursive: true,
      verbatimSymlinks: true,
      mode: constants.COPYFILE_FICLONE,
      filter: (path) => filter(path.slice(repository.length + 1)),
    });
  for (const name of ['package.json', 'dist', 'shared', 'supervisor', 'test']) copy(name);
  copy('node_modules', (path) => !unused.has(path.split('/')[1] ?? ''));
}
