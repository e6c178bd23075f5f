/**
 * GitHub's Git Data API of the stand-in, over a real bare repository, so that what is written by the
 * API can be fetched by git: refs, commits, trees and blobs. No process is started, because tests
 * make many calls.
 */
import * as fs from 'node:fs';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as git from 'isomorphic-git';

export interface GitData {
  /** The bare repository. */
  path: string;
  /** What the token may do with contents; `write` if absent. */
  access?: 'read' | 'write';
  /** Called when a commit was made, or read, and before the answer. */
  onCommit?: (method: string) => void;
}

interface Asked {
  method: string;
  /** The rest of the path. */
  name: string;
  body: Record<string, unknown>;
}
type Answer = [status: number, body: object];

/** @returns undefined if the call is not one of the Git Data API */
export async function answerGitData(
  { path: gitdir, access = 'write', onCommit }: GitData,
  asked: { method: string; path: string; body: object },
): Promise<Answer | undefined> {
  const { method } = asked;
  const [, kind = '', rest = ''] =
    /\/git\/(refs|ref|commits|trees|blobs)(?:\/(.*))?$/.exec(asked.path) ?? [];
  if (kind === '') return undefined;
  if (method !== 'GET' && access === 'read') {
    return [403, { message: 'Resource not accessible by personal access token' }];
  }
  const body = asked.body as Record<string, unknown>;
  const call = { method, name: decodeURIComponent(rest), body };
  // As GitHub answers for an object or a ref that does not exist.
  const missing: Answer = [method === 'GET' ? 404 : 422, { message: 'Not Found' }];
  const answered = await answer(gitdir, kind, call).catch(() => missing);
  if (kind === 'commits') onCommit?.(method);
  return answered;
}

async function answer(gitdir: string, kind: string, asked: Asked): Promise<Answer> {
  const { method, name, body } = asked;
  if (kind === 'ref') return [200, refOf(gitdir, name)];
  if (kind === 'refs') return changeRef(gitdir, asked);
  if (kind === 'blobs') {
    const { blob } = await git.readBlob({ fs, gitdir, oid: name });
    return [200, { sha: name, encoding: 'base64', content: Buffer.from(blob).toString('base64') }];
  }
  if (kind === 'trees') return [201, { sha: await createTree(gitdir, body) }];
  if (method === 'POST') return [201, { sha: await createCommit(gitdir, body) }];
  const { commit } = await git.readCommit({ fs, gitdir, oid: name });
  const { tree, parent, message } = commit;
  return [
    200,
    { sha: name, tree: { sha: tree }, parents: parent.map((sha) => ({ sha })), message },
  ];
}

interface TreeItem {
  path: string;
  mode: string;
  content: string;
}

async function createTree(gitdir: string, body: Record<string, unknown>): Promise<string> {
  const { base_tree: base, tree } = body as { base_tree: string; tree: TreeItem[] };
  let root = base;
  for (const { path, mode, content } of tree) {
    const blob = await git.writeBlob({ fs, gitdir, blob: Buffer.from(content) });
    root = await withFile(gitdir, root, path.split('/'), { mode, oid: blob });
  }
  return root;
}

/** Writes a tree that has one more, or another, file. @param tree undefined for a new directory */
async function withFile(
  gitdir: string,
  tree: string | undefined,
  [name = '', ...below]: string[],
  file: { mode: string; oid: string },
): Promise<string> {
  const entries = tree === undefined ? [] : (await git.readTree({ fs, gitdir, oid: tree })).tree;
  const old = entries.find(({ path }) => path === name);
  const directory = old?.type === 'tree' ? old.oid : undefined;
  const entry: git.TreeEntry =
    below.length === 0
      ? { ...file, path: name, type: 'blob' }
      : {
          ...{ mode: '040000', path: name, type: 'tree' },
          oid: await withFile(gitdir, directory, below, file),
        };
  const others = entries.filter(({ path }) => path !== name);
  return git.writeTree({ fs, gitdir, tree: [...others, entry] });
}

async function createCommit(gitdir: string, body: Record<string, unknown>): Promise<string> {
  const { message, tree, parents } = body as { message: string; tree: string; parents: string[] };
  const person = {
    ...{ name: 'berth', email: 'berth@example.test' },
    ...{ timestamp: 1_764_417_600, timezoneOffset: 0 },
  };
  const commit = { message, tree, parent: parents, author: person, committer: person };
  return git.writeCommit({ fs, gitdir, commit });
}

function refOf(gitdir: string, name: string) {
  const sha = readFileSync(join(gitdir, 'refs', name), 'utf8').trim();
  return { ref: `refs/${name}`, object: { sha, type: 'commit' } };
}

function changeRef(gitdir: string, { method, name, body }: Asked): Answer {
  const sha = String(body.sha ?? '');
  if (method === 'POST') {
    const file = join(gitdir, String(body.ref));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${sha}\n`, { flag: 'wx' });
    return [201, { ref: body.ref, object: { sha } }];
  }
  const file = join(gitdir, 'refs', name);
  refOf(gitdir, name);
  if (method === 'DELETE') {
    rmSync(file);
    return [204, {}];
  }
  writeFileSync(file, `${sha}\n`);
  return [200, refOf(gitdir, name)];
}

/** The commit of a branch; undefined without the branch. */
export function tipOf(gitdir: string, branch: string): string | undefined {
  try {
    return refOf(gitdir, `heads/${branch}`).object.sha;
  } catch {
    return undefined;
  }
}

/** The files in which `head` differs from its parent, as GitHub lists those of a pull request. */
export async function changedFiles(gitdir: string, head: string) {
  const { commit } = await git.readCommit({ fs, gitdir, oid: head });
  const [before, after] = await Promise.all([
    filesIn(gitdir, commit.parent[0] ?? head),
    filesIn(gitdir, head),
  ]);
  return [...after]
    .filter(([path, oid]) => before.get(path) !== oid)
    .map(([filename, sha]) => {
      return { filename, sha, status: before.has(filename) ? 'modified' : 'added' };
    });
}

async function filesIn(gitdir: string, commit: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const map = async (path: string, [entry]: (git.WalkerEntry | null)[]) => {
    if ((await entry?.type()) === 'blob') files.set(path, (await entry?.oid()) ?? '');
    return path;
  };
  await git.walk({ fs, gitdir, trees: [git.TREE({ ref: commit })], map });
  return files;
}

/** The text of a file on a branch; undefined without the file. */
export async function textAt(
  gitdir: string,
  branch: string,
  filepath: string,
): Promise<string | undefined> {
  const oid = tipOf(gitdir, branch) ?? '';
  const found = await git.readBlob({ fs, gitdir, oid, filepath }).catch(() => undefined);
  return found && Buffer.from(found.blob).toString();
}
