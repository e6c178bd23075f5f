/**
 * podman as scripts/containers/settings.sh sets it up: a store of its own, nothing of the machine's.
 * Invariants: what is started here is named with this process's id, and ended with the test.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { realClaude } from '../support/claude.ts';

const run = promisify(execFile);
const work = process.env.BERTH_CONTAINERS_DIR || '/var/tmp/berth-containers';

const environment = {
  ...process.env,
  // podman puts whole layers there, and /tmp may be in memory.
  TMPDIR: work,
  CONTAINERS_CONF: join(work, 'containers.conf'),
  CONTAINERS_STORAGE_CONF: join(work, 'storage.conf'),
  BUILDAH_ISOLATION: process.env.BUILDAH_ISOLATION ?? 'oci',
};

export const images = { init: 'localhost/berth-init', runtime: 'localhost/berth-runtime' };

/** Why nothing can be run here, or false. In CI that is a failure, not a reason to test less. */
export function cannotRun(): string | false {
  if (process.env.CI === 'true') return false;
  if (process.getuid?.() !== 0) return 'needs root';
  try {
    execFileSync('podman', ['--version'], { stdio: 'ignore' });
  } catch {
    return 'podman is not installed';
  }
  return false;
}

export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** Whatever its exit code. */
export async function podman(...given: string[]): Promise<Ended> {
  try {
    const options = { env: environment, maxBuffer: 64 * 1024 ** 2 };
    return { code: 0, ...(await run('podman', given, options)) };
  } catch (error) {
    const { code, stdout = '', stderr = '' } = error as { code?: unknown } & Partial<Ended>;
    if (typeof code !== 'number') throw error;
    return { code, stdout, stderr };
  }
}

/** Its output. @throws Error with what it said */
export async function podmanOk(...given: string[]): Promise<string> {
  const { code, stdout, stderr } = await podman(...given);
  if (code === 0) return stdout.trim();
  throw new Error(
    `podman ${given.slice(0, 3).join(' ')} ended with ${code}: ${stderr.slice(-2_000)}`,
  );
}

/** A build on what is there. @param context the directory to copy from */
export async function buildImage(dockerfile: string, tag: string, context: string): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'berth-dockerfile-'));
  try {
    const file = join(directory, 'Dockerfile');
    writeFileSync(file, dockerfile);
    await podmanOk('build', '--pull=never', `--file=${file}`, `--tag=${tag}`, context);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

let serial = 0;

/**
 * The Dockerfile of docs/containers.md in short: the CLI of this machine, copied. The image goes with the test.
 * @returns its name
 */
export async function imageWithClaude(t: Test, from: string, path: string): Promise<string> {
  const binary = realpathSync(realClaude);
  const name = `localhost/berth-with-claude:${process.pid}-${++serial}`;
  await buildImage(`FROM ${from}\nCOPY ${basename(binary)} ${path}\n`, name, dirname(binary));
  t.teardown(() => podman('rmi', '--force', name));
  return name;
}
