/**
 * GitHub's Git Data API of the stand-in, over a real bare repository, so that what is written by the
 * API can be fetched by git: refs, commits, trees and blobs.
 */
import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { gitEnvironment } from './repository.ts';

export interface GitData {
  /** The bare repository. */
  path: string;
  /** What the token may do with contents; `write` if absent. */
  access?: 'read' | 'write';
}

type Send = (status: number, body: object) => void;

interface TreeItem {
  path: string;
  mode: string;
  type: string;
  content?: string;
  sha?: string | null;
}

/** @returns whether the call is one of the Git Data API */
export function answerGitData(
  { path: repository, access = 'write' }: GitData,
  asked: { method: string; path: string; body: object },
  send: Send,
): boolean {
  const { method } = asked;
  const [, kind = '', rest = ''] =
    /\/git\/(refs|ref|commits|trees|blobs)(?:\/(.*))?$/.exec(asked.path) ?? [];
  if (kind === '') return false;
  const git = gitOf(repository);
  const name = decodeURIComponent(rest);
  if (method !== 'GET' && access === 'read') {
    send(403, { message: 'Resource not accessible by personal access token' });
    return true;
  }
  try {
    const body = asked.body as Record<string, unknown>;
    if (method === 'GET' && kind === 'ref') send(200, refOf(repository, name));
    else if (method === 'GET' && kind === 'commits') send(200, commitOf(git, name));
    else if (method === 'GET' && kind === 'blobs') {
      const content = git(['cat-file', 'blob', name]).toString('base64');
      send(200, { sha: name, encoding: 'base64', content });
    } else if (kind === 'trees') send(201, createTree(repository, git, body));
    else if (kind === 'commits') send(201, createCommit(repository, body));
    else if (kind === 'refs') changeRef(repository, { method, name, body }, send);
    else send(404, { message: 'Not Found' });
  } catch {
    // As GitHub does for an object or a ref that does not exist.
    send(method === 'GET' ? 404 : 422, { message: 'Not Found' });
  }
  return true;
}

type Git = (given: string[], input?: string, index?: string) => Buffer;

function gitOf(repository: string): Git {
  return (given, input = '', index = '') =>
    execFileSync('git', ['-C', repository, ...given], {
      input,
      env: { ...gitEnvironment(), ...(index ? { GIT_INDEX_FILE: index } : {}) },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
}

function refOf(repository: string, name: string) {
  const sha = readFileSync(join(repository, 'refs', name), 'utf8').trim();
  return { ref: `refs/${name}`, object: { sha, type: 'commit' } };
}

function commitOf(git: Git, sha: string) {
  const format = '%H%n%T%n%P%n%B';
  const [id = '', tree = '', parents = '', ...message] = git([
    'show',
    '-s',
    `--format=${format}`,
    sha,
  ])
    .toString()
    .split('\n');
  return {
    sha: id,
    tree: { sha: tree },
    parents: parents
      .split(' ')
      .filter(Boolean)
      .map((one) => ({ sha: one })),
    message: message.join('\n').trimEnd(),
  };
}

function createTree(repository: string, git: Git, body: Record<string, unknown>) {
  const { base_tree: base, tree } = body as { base_tree?: string; tree: TreeItem[] };
  const directory = mkdtempSync(join(tmpdir(), 'berth-index-'));
  const index = join(directory, 'index');
  try {
    if (base) git(['read-tree', base], '', index);
    const lines = tree.map(({ path, mode, content = '', sha }) => {
      const id = sha ?? writeObject(repository, 'blob', content);
      return `${mode} ${id}\t${path}\n`;
    });
    git(['update-index', '--index-info'], lines.join(''), index);
    return { sha: git(['write-tree'], '', index).toString().trim() };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function createCommit(repository: string, body: Record<string, unknown>) {
  const { message, tree, parents } = body as { message: string; tree: string; parents: string[] };
  const from = parents.map((one) => `parent ${one}\n`).join('');
  const person = 'berth <berth@example.test> 1764417600 +0000';
  const text = `tree ${tree}\n${from}author ${person}\ncommitter ${person}\n\n${message}`;
  return { sha: writeObject(repository, 'commit', text) };
}

/** Without a process of git: tests make many objects. */
function writeObject(repository: string, type: string, content: string): string {
  const bytes = Buffer.from(content);
  const object = Buffer.concat([Buffer.from(`${type} ${bytes.length}\0`), bytes]);
  const id = hash('sha1', object);
  const directory = join(repository, 'objects', id.slice(0, 2));
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, id.slice(2)), deflateSync(object));
  return id;
}

function changeRef(
  repository: string,
  { method, name, body }: { method: string; name: string; body: Record<string, unknown> },
  send: Send,
): void {
  const sha = String(body.sha ?? '');
  if (method === 'POST') {
    const file = join(repository, String(body.ref));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${sha}\n`, { flag: 'wx' });
    send(201, { ref: body.ref, object: { sha } });
    return;
  }
  refOf(repository, name);
  if (method === 'DELETE') rmSync(join(repository, 'refs', name));
  else writeFileSync(join(repository, 'refs', name), `${sha}\n`);
  if (method === 'DELETE') send(204, {});
  else send(200, refOf(repository, name));
}

/** The commit of a branch; undefined without the branch. */
export function tipOf(repository: string, branch: string): string | undefined {
  try {
    return refOf(repository, `heads/${branch}`).object.sha;
  } catch {
    return undefined;
  }
}

/** The files in which `head` differs from its parent, as GitHub lists those of a pull request. */
export function changedFiles(repository: string, head: string, base: string) {
  const git = gitOf(repository);
  const from = git(['merge-base', base, head]).toString().trim();
  return git(['diff-tree', '-r', '--no-renames', from, head])
    .toString()
    .split('\n')
    .flatMap((line) => {
      const [, sha = '', letter, filename = ''] =
        /^:\d+ \d+ [0-9a-f]+ ([0-9a-f]+) ([AMD])\t(.+)$/.exec(line) ?? [];
      const status = letter === 'A' ? 'added' : letter === 'D' ? 'removed' : 'modified';
      return filename === '' ? [] : [{ filename, sha, status }];
    });
}

/** The text of a file on a branch; undefined without the file. */
export function textAt(repository: string, branch: string, path: string): string | undefined {
  try {
    return gitOf(repository)(['cat-file', 'blob', `${branch}:${path}`]).toString();
  } catch {
    return undefined;
  }
}
