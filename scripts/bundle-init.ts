/**
 * Builds the bundle of berth-init, and the snapshot from which the image starts: V8's memory with
 * the loaded program, so that a start reads neither sources nor modules. Figures:
 * docs/performance.md.
 * Invariants: the snapshot requires exactly this Node. The snapshot has no values of the
 * environment in which it was made.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BuildOptions } from 'esbuild';
import { lean } from './lean.ts';

const root = join(import.meta.dirname, '..');

export const bundleName = 'berth-init.cjs';

/** One CommonJS file: a snapshot is made of a single script, which cannot import other files. */
export const initBundle: BuildOptions = {
  absWorkingDir: root,
  entryPoints: { 'berth-init': 'init/main.ts' },
  outExtension: { '.js': '.cjs' },
  plugins: lean,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'cjs',
  minify: true,
  keepNames: true,
  legalComments: 'linked',
  logLevel: 'warning',
  metafile: true,
};

/**
 * Reads an instruction of Dockerfile.init, so that benchmarks and tests run the same command as the
 * image.
 */
function imageCommand(instruction: 'RUN' | 'ENTRYPOINT'): string[] {
  const dockerfile = readFileSync(join(root, 'Dockerfile.init'), 'utf8');
  const lines = dockerfile.split('\n').filter((line) => line.startsWith(`${instruction} `));
  const line = lines.find((one) => one.includes('--snapshot-blob')) ?? '';
  const words = line
    .replace(/["[\],]/g, ' ')
    .split(' ')
    .filter(Boolean);
  return words.slice(2);
}

/** Returns the arguments with which the image starts Node.js, for a bundle in `directory`. */
export function imageArguments(directory: string): string[] {
  return imageCommand('ENTRYPOINT').map((word) => word.replace('/app/', `${directory}/`));
}

/** Makes the snapshot beside the bundle in `directory`, as the image build does. */
export function takeSnapshot(directory: string): void {
  const settings = readFileSync(join(root, 'init/snapshot.json'), 'utf8');
  writeFileSync(join(directory, 'snapshot.json'), settings.replace('/app/', `${directory}/`));
  const given = imageCommand('RUN').map((word) => word.replace('/app/', `${directory}/`));
  execFileSync(process.execPath, given, { stdio: ['ignore', 'inherit', 'inherit'] });
}
