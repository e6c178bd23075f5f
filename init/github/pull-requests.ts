/**
 * Pull requests by GitHub's API: one open pull request for each branch, opened or updated.
 * Invariants: nothing is retried here. An error names the permission that the token lacks.
 */
import { answerOf, connect, type GitHub } from './github-api.ts';
import { refusal } from './github-refusal.ts';

export interface PullRequest {
  number: number;
  /** The page of the pull request. */
  url: string;
  state: string;
  merged: boolean;
  title: string;
  body: string;
  head: Side;
  base: Side;
}

export interface Side {
  /** `owner/name`; undefined if the repository was deleted. */
  repository: string | undefined;
  branch: string;
  commit: string;
}

export interface WantedPullRequest {
  branch: string;
  title: string;
  body: string;
  /** The default branch if absent. */
  base?: string | undefined;
  /** Counts when the pull request is opened, not when it is updated. */
  draft?: boolean | undefined;
}

const pushFirst = 'push the branch first, with commits that the base does not have';

/**
 * Opens a pull request of a branch of the same repository, or updates the open one.
 * @throws BerthError `remote_refused`, `remote_unavailable`
 */
export async function openPullRequest(
  github: GitHub,
  wanted: WantedPullRequest,
): Promise<PullRequest & { created: boolean }> {
  const { branch, title, body } = wanted;
  const names = namesOf(github.path);
  try {
    const octokit = await connect(github, github.signal);
    const find = async () => {
      const open = { ...names, state: 'open', head: `${names.owner}:${branch}` } as const;
      const { data } = await octokit.rest.pulls.list(open);
      return data.find(({ head }) => head.ref === branch);
    };
    const update = async (number: number, base: string | undefined) => {
      const changes = { ...names, pull_number: number, title, body, ...(base ? { base } : {}) };
      const { data } = await octokit.rest.pulls.update(changes);
      return { ...described(data), created: false };
    };
    const found = await find();
    if (found) return await update(found.number, wanted.base);
    const base = wanted.base ?? (await octokit.rest.repos.get(names)).data.default_branch;
    try {
      const { data } = await octokit.rest.pulls.create({
        ...names,
        title,
        body,
        base,
        head: branch,
        ...(wanted.draft ? { draft: true } : {}),
      });
      return { ...described(data), created: true };
    } catch (error) {
      // Another call has opened it in the same moment.
      const other = answerOf(error)?.status === 422 ? await find() : undefined;
      if (!other) throw error;
      return await update(other.number, wanted.base);
    }
  } catch (error) {
    throw refusal(
      error,
      `open a pull request for ${branch} in ${github.path}`,
      'Pull requests: write',
      pushFirst,
    );
  }
}

/** The files of a pull request, at most 300. @throws BerthError as above */
export async function filesOf(
  github: GitHub,
  number: number,
): Promise<{ path: string; oid: string }[]> {
  try {
    const octokit = await connect(github, github.signal);
    const files: { path: string; oid: string }[] = [];
    for (let page = 1; page <= 3; page++) {
      const asked = { ...namesOf(github.path), pull_number: number, per_page: 100, page };
      const { data } = await octokit.rest.pulls.listFiles(asked);
      for (const { filename: path, sha: oid, status } of data) {
        if (status !== 'removed' && oid) files.push({ path, oid });
      }
      if (data.length < 100) break;
    }
    return files;
  } catch (error) {
    const what = `read the files of the pull request ${number} of ${github.path}`;
    throw refusal(error, what, 'Pull requests: read', 'see the log');
  }
}

/** The open pull request of a branch; undefined without one. @throws as above */
export async function findPullRequest(
  github: GitHub,
  branch: string,
): Promise<{ number: number; commit: string } | undefined> {
  const { owner, repo } = namesOf(github.path);
  try {
    const octokit = await connect(github, github.signal);
    const open = { owner, repo, state: 'open', head: `${owner}:${branch}` } as const;
    const { data } = await octokit.rest.pulls.list(open);
    const found = data.find(({ head }) => head.ref === branch);
    return found && { number: found.number, commit: found.head.sha };
  } catch (error) {
    const what = `list the pull requests of ${github.path}`;
    throw refusal(error, what, 'Pull requests: read', 'see the log');
  }
}

/** The newest closed pull requests of a branch, merged or not, newest first. @throws as above */
export async function closedPullRequests(
  github: GitHub,
  branch: string,
): Promise<{ number: number; commit: string }[]> {
  const { owner, repo } = namesOf(github.path);
  try {
    const octokit = await connect(github, github.signal);
    const { data } = await octokit.rest.pulls.list({
      ...{ owner, repo, state: 'closed', head: `${owner}:${branch}` },
      ...{ sort: 'updated', direction: 'desc', per_page: 20 },
    });
    return data
      .filter(({ head }) => head.ref === branch)
      .map(({ number, head }) => ({ number, commit: head.sha }));
  } catch (error) {
    const what = `list the pull requests of ${github.path}`;
    throw refusal(error, what, 'Pull requests: read', 'see the log');
  }
}

/** @throws BerthError `remote_refused`, `remote_unavailable` */
export async function readPullRequest(github: GitHub, number: number): Promise<PullRequest> {
  try {
    const octokit = await connect(github, github.signal);
    const { data } = await octokit.rest.pulls.get({ ...namesOf(github.path), pull_number: number });
    return described(data);
  } catch (error) {
    const what = `read the pull request ${number} of ${github.path}`;
    throw refusal(error, what, 'Pull requests: read', 'see the log');
  }
}

interface Answer {
  number: number;
  html_url: string;
  state: string;
  merged_at: string | null;
  title: string;
  body: string | null;
  head: AnswerSide;
  base: AnswerSide;
}

interface AnswerSide {
  ref: string;
  sha: string;
  repo: { full_name: string } | null;
}

function described(answer: Answer): PullRequest {
  const { number, html_url, state, merged_at, title, body, head, base } = answer;
  const side = ({ ref, sha, repo }: AnswerSide): Side => ({
    repository: repo?.full_name,
    branch: ref,
    commit: sha,
  });
  return {
    number,
    url: html_url,
    state,
    merged: merged_at !== null && merged_at !== undefined,
    title,
    body: body ?? '',
    head: side(head),
    base: side(base),
  };
}

function namesOf(path: string): { owner: string; repo: string } {
  const [owner = '', repo = ''] = path.split('/');
  return { owner, repo };
}
