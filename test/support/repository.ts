/**
 * Bare repositories for tests, made by git itself without a work tree. The same calls make the same
 * commit ids on every machine: author and dates are fixed and no configuration of the user is read.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LooseCommits, type NewCommit } from './loose-commits.ts';

/** What stands at a path; a string or Buffer is the content of an ordinary file. */
export type FileSpec =
  | string
  | Buffer
  | { content: string | Buffer; mode?: '100644' | '100755' }
  | { symlink: string }
  | { submodule: string };

export interface Repository {
  readonly name: string;
  /** The bare repository's directory. */
  readonly path: string;
  /** Commits on top of the branch and returns the commit id; null deletes a path. */
  commit(files: Record<string, FileSpec | null>, message?: string, branch?: string): string;
  /** Replaces the branch's history by one commit of just these files, as a force push does. */
  rewrite(files: Record<string, FileSpec>, message?: string, branch?: string): string;
  /** The commit id of a branch, by default `main`. */
  head(branch?: string): string;
  /** Tags the head of `main` and returns the id that the tag's ref holds. */
  tag(name: string, annotated?: boolean): string;
  /** Makes a branch at the head of `main`. */
  branch(name: string): void;
  /** Lets the remote's HEAD name this branch. */
  setDefaultBranch(name: string): void;
}

/** For running git without any configuration of the machine or its user, and never asking. */
export function gitEnvironment(): Record<string, string> {
  const person = { NAME: 'berth', EMAIL: 'berth@example.test' };
  return {
    PATH: process.env.PATH ?? '',
    HOME: '/nonexistent',
    LC_ALL: 'C',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_TERMINAL_PROMPT: '0',
    GIT_AUTHOR_NAME: person.NAME,
    GIT_AUTHOR_EMAIL: person.EMAIL,
    GIT_COMMITTER_NAME: person.NAME,
    GIT_COMMITTER_EMAIL: person.EMAIL,
    ...gitConfiguration({ 'safe.directory': '*' }),
  };
}

/** Settings as environment variables, which outrank every configuration file. */
export function gitConfiguration(settings: Record<string, string>): Record<string, string> {
  const entries = Object.entries(settings);
  const variables = entries.flatMap(([key, value], index) => [
    [`GIT_CONFIG_KEY_${index}`, key],
    [`GIT_CONFIG_VALUE_${index}`, value],
  ]);
  return { GIT_CONFIG_COUNT: String(entries.length), ...Object.fromEntries(variables) };
}

/** git would compress a large commit for seconds, when it is made and again when it is fetched. */
const quickly = ['-c', 'core.compression=1', '-c', 'fastimport.unpackLimit=1'];

/**
 * Makes `<root>/<name>.git` with one commit on `main`.
 * @param name may have an owner: `owner/name`.
 */
export function createRepository(
  root: string,
  name: string,
  files: Record<string, FileSpec>,
): Repository {
  mkdirSync(join(root, `${name}.git`), { recursive: true });
  return openRepository(root, name, files);
}

/** A repository that `createRepository` made before; with `first`, made by its first commit. */
export function openRepository(
  root: string,
  name: string,
  first?: Record<string, FileSpec>,
): Repository {
  const path = join(root, `${name}.git`);
  // One minute a commit, from a fixed day on.
  let time = Date.UTC(2026, 0, 1) / 1000;
  const loose = new LooseCommits(path);

  function git(args: string[], input: string | Buffer = ''): string {
    const date = `${time} +0000`;
    // Named, not looked for: where it has gone, git would take the one that this checkout lies in.
    const own = { GIT_DIR: path, GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date };
    const env = { ...gitEnvironment(), ...own };
    return execFileSync('git', args, { cwd: path, env, input, encoding: 'utf8' }).trim();
  }

  function write(
    specs: Record<string, FileSpec | null>,
    { message, branch, parent }: { message: string; branch: string; parent: string | undefined },
  ): string {
    time += 60;
    const commit = { message, ref: `refs/heads/${branch}`, parent, time };
    if (!loose.write(specs, commit)) {
      git([...quickly, 'fast-import', '--quiet', '--force'], importStream(specs, commit));
    }
    return head(branch);
  }

  /** Read without a process: a test makes many commits. */
  const head = (branch = 'main'): string => {
    try {
      return readFileSync(join(path, 'refs/heads', branch), 'utf8').trim();
    } catch {
      return git(['rev-parse', `refs/heads/${branch}`]);
    }
  };

  if (first) {
    makeEmpty(path);
    write(first, { message: 'First commit', branch: 'main', parent: undefined });
  }

  return {
    name,
    path,
    head,
    commit: (changes, message = 'Change', branch = 'main') =>
      write(changes, { message, branch, parent: head(branch) }),
    rewrite: (contents, message = 'Rewrite', branch = 'main') =>
      write(contents, { message, branch, parent: undefined }),
    tag(tagName, annotated = false) {
      git(['tag', ...(annotated ? ['-m', tagName] : []), tagName, 'main']);
      return git(['rev-parse', `refs/tags/${tagName}`]);
    },
    branch(branchName) {
      git(['branch', branchName, 'main']);
    },
    setDefaultBranch(branchName) {
      git(['symbolic-ref', 'HEAD', `refs/heads/${branchName}`]);
    },
  };
}

/** As `git init --bare` makes one, without its templates. */
function makeEmpty(path: string): void {
  for (const name of ['objects', 'refs/heads', 'refs/tags']) {
    mkdirSync(join(path, name), { recursive: true });
  }
  writeFileSync(join(path, 'HEAD'), 'ref: refs/heads/main\n');
  writeFileSync(join(path, 'config'), '[core]\n\trepositoryformatversion = 0\n\tbare = true\n');
}

/** The commit as `git fast-import` reads it. */
function importStream(specs: Record<string, FileSpec | null>, commit: NewCommit): Buffer {
  const parts: (string | Buffer)[] = [
    // Without the reset, a commit on an existing ref would get that ref as its parent.
    `reset ${commit.ref}\n`,
    commit.parent ? `from ${commit.parent}\n\n` : '\n',
    `commit ${commit.ref}\n`,
    `committer berth <berth@example.test> ${commit.time} +0000\n`,
    ...data(commit.message),
  ];
  for (const [path, spec] of Object.entries(specs)) {
    if (spec === null) parts.push(`D ${quote(path)}\n`);
    else if (typeof spec === 'string' || Buffer.isBuffer(spec)) {
      parts.push(`M 100644 inline ${quote(path)}\n`, ...data(spec));
    } else if ('symlink' in spec) {
      parts.push(`M 120000 inline ${quote(path)}\n`, ...data(spec.symlink));
    } else if ('submodule' in spec) {
      parts.push(`M 160000 ${spec.submodule} ${quote(path)}\n`);
    } else {
      parts.push(`M ${spec.mode ?? '100644'} inline ${quote(path)}\n`, ...data(spec.content));
    }
  }
  return Buffer.concat(parts.map((part) => Buffer.from(part)));
}

function data(content: string | Buffer): (string | Buffer)[] {
  return [`data ${Buffer.byteLength(content)}\n`, content, '\n'];
}

/** A path in git's own quoting, so that any name may be used. */
function quote(path: string): string {
  const escaped = path.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
  return `"${escaped}"`;
}
