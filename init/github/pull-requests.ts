/**
 * Pull requests by GitHub's API: one open pull request for each branch, opened or updated.
 * Invariants: nothing is retried here. An error names the permission that the token lacks.
 */
import { BerthError } from '../../shared/errors.ts';
import { answerOf, connect, type GitHub, limitOf } from './github-api.ts';

export interface PullRequest {
  number: number;
  /** The page of the pull request. */
  url: string;
  state: string;
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
}

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
      });
      return { ...described(data), created: true };
    } catch (error) {
      // Another call has opened it in the same moment.
      const other = answerOf(error)?.status === 422 ? await find() : undefined;
      if (!other) throw error;
      return await update(other.number, wanted.base);
    }
  } catch (error) {
    throw refusal(error, `open a pull request for ${branch} in ${github.path}`, 'write');
  }
}

/** @throws BerthError `remote_refused`, `remote_unavailable` */
export async function readPullRequest(github: GitHub, number: number): Promise<PullRequest> {
  try {
    const octokit = await connect(github, github.signal);
    const { data } = await octokit.rest.pulls.get({ ...namesOf(github.path), pull_number: number });
    return described(data);
  } catch (error) {
    throw refusal(error, `read the pull request ${number} of ${github.path}`, 'read');
  }
}

interface Answer {
  number: number;
  html_url: string;
  state: string;
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

function described({ number, html_url, state, title, body, head, base }: Answer): PullRequest {
  const side = ({ ref, sha, repo }: AnswerSide): Side => ({
    repository: repo?.full_name,
    branch: ref,
    commit: sha,
  });
  return {
    number,
    url: html_url,
    state,
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

function refusal(error: unknown, what: string, level: 'read' | 'write'): BerthError {
  if (error instanceof BerthError) return error;
  const answer = answerOf(error);
  const limit = limitOf(error);
  if (!answer || limit || answer.status >= 500) {
    const until = limit?.until ? ` until ${limit.until.toISOString()}` : '';
    const why = limit ? `GitHub limits the rate${until}` : "GitHub's API does not answer";
    const message = `cannot ${what}: ${why}; try again later`;
    return new BerthError('remote_unavailable', message, { cause: error });
  }
  const { status, text } = answer;
  const refused = (why: string) =>
    new BerthError('remote_refused', `cannot ${what}: ${why}`, {
      cause: error,
      details: { http_status: status },
    });
  const right = `"Pull requests: ${level}"`;
  if (status === 401) {
    return refused(
      'GitHub does not accept the token: it is wrong, expired or revoked; the operator must create a new token',
    );
  }
  if (status === 403) {
    return refused(
      `the token lacks the repository permission ${right} (403); the operator must grant it`,
    );
  }
  if (status === 404) {
    return refused(
      `it does not exist, or the token lacks the repository permission ${right} (404); check the name, and grant the permission`,
    );
  }
  if (status === 422) {
    return refused(
      `GitHub does not accept it: ${text.slice(0, 500)}; push the branch first, with commits that the base does not have`,
    );
  }
  return refused(`GitHub answers with status ${status}; see the log`);
}
