/**
 * Puts one commit on a branch by GitHub's Git Data API: no push and no clone is needed.
 * Invariants: the branch is berth's own. If a person has pushed to it, or has changed its commit, the
 * branch stays as it is; only a push in the same moment, between two calls of the API, is not noticed. A commit of berth has the id of its tree in its message, so it is recognised
 * without a record. An error names the permission that the token lacks.
 */
import { answerOf, connect, type GitHub } from './github-api.ts';
import { refusal } from './github-refusal.ts';

export interface CommitFile {
  path: string;
  mode: '100644' | '100755';
  /** UTF-8. */
  text: string;
}

export interface WantedCommit {
  branch: string;
  /** The commit on which the branch is based, and its tree. */
  parent: string;
  parentTree: string;
  files: readonly CommitFile[];
  message: string;
  /** A commit of a person that may be replaced, because its pull request has ended. */
  finished?: string | undefined;
}

export type Placed =
  | { kind: 'created' | 'moved' | 'unchanged'; commit: string }
  /** A person has changed the branch. */
  | { kind: 'foreign'; commit: string };

const trailer = 'Berth-Tree';
/** Bytes of an answer with a blob of 1 MiB, in base64 with line breaks, and a bit more. */
const mostAnswer = 1.5 * 1024 * 1024;

/** @throws BerthError `remote_refused`, `remote_unavailable` */
export async function placeCommit(github: GitHub, wanted: WantedCommit): Promise<Placed> {
  const { branch, parent, files } = wanted;
  const [owner = '', repo = ''] = github.path.split('/');
  const names = { owner, repo };
  const ref = `heads/${branch}`;
  try {
    const { git } = (await connect(github, github.signal)).rest;
    const tip = await tipOf(git, { ...names, ref });
    if (tip && !isOwn(tip) && tip.sha !== wanted.finished)
      return { kind: 'foreign', commit: tip.sha };
    const { data: tree } = await git.createTree({
      ...names,
      base_tree: wanted.parentTree,
      tree: files.map(({ path, mode, text }) => ({
        path,
        mode,
        type: 'blob' as const,
        content: text,
      })),
    });
    const isThere = tip?.tree.sha === tree.sha && tip.parents[0]?.sha === parent;
    if (tip && isThere) return { kind: 'unchanged', commit: tip.sha };
    const message = `${wanted.message}\n\n${trailer}: ${tree.sha}\n`;
    const { data: commit } = await git.createCommit({
      ...names,
      ...{ message, tree: tree.sha, parents: [parent] },
    });
    if (tip) {
      // A person may have pushed while the commit was made; the REST API cannot compare and replace in one call.
      const now = await idOf(git, { ...names, ref });
      if (now !== undefined && now !== tip.sha) return { kind: 'foreign', commit: now };
      await git.updateRef({ ...names, ref, sha: commit.sha, force: true });
    } else await git.createRef({ ...names, ref: `refs/${ref}`, sha: commit.sha });
    return { kind: tip ? 'moved' : 'created', commit: commit.sha };
  } catch (error) {
    const remedy = 'the commit may be gone from the server: the next sync brings another';
    throw refusal(error, `write the branch ${branch} of ${github.path}`, 'Contents: write', remedy);
  }
}

/** Whether the newest commit of the branch is berth's own. */
export async function isOwnBranch(github: GitHub, branch: string): Promise<boolean> {
  const [owner = '', repo = ''] = github.path.split('/');
  try {
    const { git } = (await connect(github, github.signal)).rest;
    const tip = await tipOf(git, { owner, repo, ref: `heads/${branch}` });
    return tip !== undefined && isOwn(tip);
  } catch (error) {
    const what = `read the branch ${branch} of ${github.path}`;
    throw refusal(error, what, 'Contents: write', 'see the log');
  }
}

/** Deletes berth's own branch, which closes its pull request. A branch of a person stays. */
export async function removeBranch(github: GitHub, branch: string): Promise<void> {
  const [owner = '', repo = ''] = github.path.split('/');
  const names = { owner, repo };
  const ref = `heads/${branch}`;
  try {
    const { git } = (await connect(github, github.signal)).rest;
    const tip = await tipOf(git, { ...names, ref });
    if (!tip || !isOwn(tip) || (await idOf(git, { ...names, ref })) !== tip.sha) return;
    await git.deleteRef({ ...names, ref }).catch(unlessMissing);
  } catch (error) {
    const remedy = 'delete the branch by hand';
    const what = `delete the branch ${branch} of ${github.path}`;
    throw refusal(error, what, 'Contents: write', remedy);
  }
}

/** The content of a blob, whatever branch has it; undefined if it is gone, or over 1 MiB. */
export async function readBlob(github: GitHub, oid: string): Promise<Buffer | undefined> {
  const [owner = '', repo = ''] = github.path.split('/');
  try {
    const { git } = (await connect(github, github.signal)).rest;
    const request = { parseSuccessResponseBody: false };
    const { data } = await git.getBlob({ owner, repo, file_sha: oid, request });
    const text = await startOf(data as unknown as AsyncIterable<Uint8Array>);
    return text === undefined ? undefined : Buffer.from(JSON.parse(text).content, 'base64');
  } catch (error) {
    if (answerOf(error)?.status === 404) return undefined;
    const what = `read a file of ${github.path}`;
    throw refusal(error, what, 'Contents: write', 'see the log');
  }
}

/** The body of an answer as it comes; undefined if it is too large, and the rest is not read. */
async function startOf(body: AsyncIterable<Uint8Array>): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > mostAnswer) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

type Git = Awaited<ReturnType<typeof connect>>['rest']['git'];

/** `ref`: `heads/main`. */
type Ref = { owner: string; repo: string; ref: string };

/** The newest commit of a branch; undefined if there is no such branch. */
async function tipOf(git: Git, place: Ref) {
  const id = await idOf(git, place);
  if (id === undefined) return undefined;
  const { owner, repo } = place;
  return (await git.getCommit({ owner, repo, commit_sha: id })).data;
}

async function idOf(git: Git, place: Ref): Promise<string | undefined> {
  return (await git.getRef(place).catch(unlessMissing))?.data.object.sha;
}

function isOwn({ message, tree }: { message: string; tree: { sha: string } }): boolean {
  return message.includes(`${trailer}: ${tree.sha}`);
}

/** GitHub answers 404 for a ref that does not exist. */
function unlessMissing(error: unknown): undefined {
  if (answerOf(error)?.status === 404) return undefined;
  throw error;
}
