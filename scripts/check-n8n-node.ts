/**
 * `npm run check:n8n-node`: builds and lints examples/n8n-node with n8n's own tools, in strict mode. The tools take 580 MB
 * and some minutes to install, into a temporary folder, or into N8N_NODE_DIRECTORY, where a later run uses them again.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Of the same release as the tools: the node takes its types from it. */
const workflow = 'n8n-workflow@2.41.0';
const kept = process.env.N8N_NODE_DIRECTORY;
const directory = kept ?? mkdtempSync(join(tmpdir(), 'n8n-node-'));
const bin = join(directory, 'node_modules/.bin');
const environment = { ...process.env, PATH: `${bin}:${process.env.PATH}`, CI: 'true' };
const run = (command: string, ...args: string[]): void => {
  execFileSync(command, args, { cwd: directory, env: environment, stdio: 'inherit' });
};

try {
  const source = join(import.meta.dirname, '../examples/n8n-node');
  mkdirSync(directory, { recursive: true });
  for (const name of readdirSync(directory)) {
    if (!['node_modules', 'package-lock.json'].includes(name)) {
      rmSync(join(directory, name), { recursive: true });
    }
  }
  cpSync(source, directory, {
    recursive: true,
    filter: (path) => !/\/(node_modules|dist)$/.test(path),
  });
  if (!existsSync(join(bin, 'n8n-node'))) {
    // An install script of the lint rules demands another package manager; nothing of it is needed.
    const options = ['--ignore-scripts', '--no-audit', '--no-fund'];
    run('npm', 'install', ...options, '--no-save', workflow);
  }
  run('n8n-node', 'build');
  run('n8n-node', 'lint');
  process.stdout.write('the n8n node builds, and its lint is clean\n');
} finally {
  if (kept === undefined) rmSync(directory, { recursive: true, force: true });
}
