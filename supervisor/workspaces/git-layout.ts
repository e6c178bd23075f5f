/**
 * The files of a git directory that berth writes itself: a bare mirror, the `.git` of a session, and a private
 * directory with which berth works on the commits of a session.
 * Invariants: no value of a caller is in a file without quotes. No hook, filter or include is in a file that berth
 * writes. No name of a ref leads out of the git directory.
 */
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { inside, makeDirectories } from '../../shared/files.ts';

export interface Layout {
  /** `refs/heads/main`, or the id of a commit for a detached HEAD. */
  head: string;
  /** Sections with their keys, such as `remote "origin"`. */
  config?: Readonly<Record<string, Readonly<Record<string, string | boolean>>>>;
  /** Ids by the names of their refs. */
  refs?: Readonly<Record<string, string>>;
  /** Lines by the names of files below `info/`. */
  info?: Readonly<Record<string, readonly string[]>>;
}

/** Creates the parts of a git directory, which may exist. @throws Error of the system, or about a name of a ref */
export async function writeGitDirectory(directory: string, layout: Layout): Promise<void> {
  const { head, config = {}, refs = {}, info = {} } = layout;
  for (const name of ['objects/pack', 'objects/info', 'refs/heads', 'info']) {
    await makeDirectories(join(directory, name), 0o700);
  }
  for (const [name, id] of Object.entries(refs)) {
    const path = inside(directory, name);
    await makeDirectories(dirname(path), 0o700);
    await writeFile(path, `${id}\n`);
  }
  for (const [name, lines] of Object.entries(info)) {
    await writeFile(join(directory, 'info', name), lines.map((line) => `${line}\n`).join(''));
  }
  await writeFile(
    join(directory, 'config'),
    configText({ core: coreOf(config.core), ...without(config) }),
  );
  await writeFile(
    join(directory, 'HEAD'),
    head.startsWith('refs/') ? `ref: ${head}\n` : `${head}\n`,
  );
}

function coreOf(core: Readonly<Record<string, string | boolean>> = {}) {
  return { repositoryformatversion: '0', filemode: true, bare: false, ...core };
}

function without({ core: _, ...rest }: NonNullable<Layout['config']>) {
  return rest;
}

function configText(sections: NonNullable<Layout['config']>): string {
  return Object.entries(sections)
    .map(([name, keys]) => {
      const lines = Object.entries(keys).map(([key, value]) => `\t${key} = ${quoted(value)}\n`);
      return `[${name}]\n${lines.join('')}`;
    })
    .join('');
}

function quoted(value: string | boolean): string {
  return typeof value === 'boolean'
    ? String(value)
    : `"${value.replace(/[\\"]/g, (each) => `\\${each}`).replace(/\p{Cc}/gu, ' ')}"`;
}

/** The patterns with which git writes only one folder and the files above it (cone mode). */
export function coneOf(path: string): string[] {
  const parts = path.split('/');
  const above = parts.slice(0, -1).map((_, index) => `/${parts.slice(0, index + 1).join('/')}/`);
  return ['/*', '!/*/', ...above.flatMap((each) => [each, `!${each}*/`]), `/${path}/`];
}
