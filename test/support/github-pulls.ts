/** The pull requests of one repository of the stand-in for GitHub's API, as GitHub answers about them. */
import { changedFiles, tipOf } from './github-git.ts';

export interface PullRequests {
  /** The branches that exist. */
  branches: readonly string[];
  /** What the token may do; `write` if absent. */
  access?: 'none' | 'read' | 'write';
  /** The bare repository with the branches, if it is a real one. */
  git?: string;
  /** Called when a pull request was opened, before the answer. */
  onOpen?: () => void;
  /** Those that were opened, first number 1. */
  opened: PullRequest[];
}

export interface PullRequest {
  title: string;
  body: string;
  head: string;
  base: string;
  state: 'open' | 'closed';
  /** When it was merged. */
  merged_at?: string;
  /** The last commit of the branch, after the pull request has ended. */
  last?: string;
}

type Send = (status: number, body: object) => void;

export async function answerPulls(
  { branches, access = 'write', git, onOpen, opened }: PullRequests,
  asked: { method: string; path: string; body: object; repository: string },
  send: Send,
): Promise<void> {
  const { method, path, repository } = asked;
  const wanted = asked.body as Partial<PullRequest>;
  const [owner] = repository.split('/');
  const url = new URL(path, 'http://github');
  const number = Number(/\/pulls\/(\d+)(?:\/files)?$/.exec(url.pathname)?.[1] ?? 0);
  const exists = (branch: string) =>
    git === undefined ? branches.includes(branch) : tipOf(git, branch) !== undefined;
  const side = (ref: string, sha = git && tipOf(git, ref)) => {
    return { ref, sha: sha ?? 'c'.repeat(40), repo: { full_name: repository } };
  };
  const shown = (pull: PullRequest) => ({
    merged_at: null,
    ...pull,
    number: opened.indexOf(pull) + 1,
    html_url: `https://github.com/${repository}/pull/${opened.indexOf(pull) + 1}`,
    head: side(pull.head, pull.last),
    base: side(pull.base),
  });
  const found = opened[number - 1];
  if (access === 'none' || (access === 'read' && method !== 'GET')) {
    send(403, { message: 'Resource not accessible by personal access token' });
  } else if (number > 0 && !found) {
    send(404, { message: 'Not Found' });
  } else if (found && git !== undefined && url.pathname.endsWith('/files')) {
    send(200, await changedFiles(git, found.last ?? tipOf(git, found.head) ?? ''));
  } else if (found) {
    if (method === 'PATCH') Object.assign(found, wanted);
    send(200, shown(found));
  } else if (method === 'GET') {
    const head = url.searchParams.get('head');
    const state = url.searchParams.get('state') ?? 'open';
    const listed = opened.filter(
      (pull) => pull.state === state && `${owner}:${pull.head}` === head,
    );
    send(200, listed.map(shown));
  } else if (!exists(wanted.head ?? '')) {
    send(422, { message: 'Validation Failed: head is invalid' });
  } else if (opened.some(({ head, state }) => head === wanted.head && state === 'open')) {
    send(422, { message: 'Validation Failed: A pull request already exists' });
  } else {
    const pull = { title: '', body: '', head: '', base: '', ...wanted, state: 'open' } as const;
    opened.push(pull);
    onOpen?.();
    send(201, shown(pull));
  }
}

/** A pull request whose branch was deleted is closed. */
export function closeWithoutBranch({ git, opened }: PullRequests): void {
  if (git === undefined) return;
  for (const pull of opened) if (tipOf(git, pull.head) === undefined) pull.state = 'closed';
}
