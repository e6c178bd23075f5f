/**
 * Makes the repositories of `bench:init` once, in a cache: a typical `.claude` (S), many files (M),
 * large blobs (LB) and very many small files (LF). The content is the same on every machine: a
 * generator with a fixed seed makes it.
 */
import { execFileSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createRepository, type FileSpec } from '../test/support/repository.ts';

export type Size = 'S' | 'M' | 'LB' | 'LF';

interface Shape {
  files: number;
  /** The bytes of a file; half of them cannot be compressed (base64 can be, by a quarter). */
  bytes: number;
  /** The number of commits; each changes some files. */
  commits: number;
  /** Sizes of incompressible files, in MB. */
  blobs: readonly number[];
}

export const shapes: Record<Size, Shape> = {
  S: { files: 303, bytes: 10_000, commits: 30, blobs: [] },
  M: { files: 3_003, bytes: 15_300, commits: 30, blobs: [] },
  LB: { files: 3, bytes: 1_000, commits: 1, blobs: [50, 75, 100] },
  LF: { files: 20_003, bytes: 4_200, commits: 1, blobs: [] },
};

/** Makes the bare repository `<root>/bench/<size>.git` if it is missing. */
export function ensureRepository(root: string, size: Size): void {
  const path = join(root, 'bench', `${size}.git`);
  if (existsSync(path)) return;
  process.stderr.write(`building repository ${size}\n`);
  const workshop = join(root, `workshop-${process.pid}`);
  mkdirSync(join(root, 'bench'), { recursive: true });
  const { files, bytes, commits, blobs } = shapes[size];
  const random = generator(size);
  const first: Record<string, FileSpec> = {};
  for (let index = 0; index < files; index++) first[pathOf(index)] = prose(random, bytes);
  for (const megabytes of blobs) first[`large/${megabytes}.bin`] = random(megabytes * 2 ** 20);
  const repository = createRepository(workshop, size, first);
  for (let commit = 1; commit < commits; commit++) {
    const changes: Record<string, FileSpec> = {};
    for (let each = 0; each < files / 30; each++) {
      changes[pathOf((commit * 7 + each * 31) % files)] = prose(random, bytes);
    }
    repository.commit(changes);
  }
  execFileSync('git', ['gc', '--quiet'], { cwd: repository.path });
  renameSync(repository.path, path);
  rmSync(workshop, { recursive: true });
}

/** Three small files with new content for each `generation`. */
export function smallChange(generation: number): Record<string, FileSpec> {
  return Object.fromEntries(
    [0, 1, 2].map((index) => [pathOf(index), `# ${index}\n\nGeneration ${generation}.\n`]),
  );
}

/** Sixty directories; two of five files are executable configuration, which berth always reads. */
function pathOf(index: number): string {
  const kinds = ['skills', 'commands', 'docs', 'notes', 'projects'];
  return `${kinds[index % 5]}/${index % 12}/note-${index}.md`;
}

/** Returns endless bytes from a seed: AES in counter mode over zeros. */
function generator(seed: string): (length: number) => Buffer {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16));
  return (length) => cipher.update(Buffer.alloc(length));
}

/** Text; two thirds of it compress well. */
function prose(random: (length: number) => Buffer, bytes: number): string {
  let text = '';
  while (text.length < bytes) {
    text += `${random(30).toString('base64')} and the same words again, as prose has them, once more\n`;
  }
  return text;
}
