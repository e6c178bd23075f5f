/** The pull requests of one repository of the stand-in for GitHub's API, as GitHub answers about them. */

export interface PullRequests {
  /** The branches that exist. */
  branches: readonly string[];
  /** What the token may do; `write` if absent. */
  access?: 'none' | 'read' | 'write';
  /** Those that were opened, first number 1. */
  opened: PullRequest[];
}

export interface PullRequest {
  title: string;
  body: string;
  head: string;
  base: string;
  state: 'open' | 'closed';
}

type Send = (status: number, body: object) => void;

export function answerPulls(
  { branches, access = 'write', opened }: PullRequests,
  asked: { method: string; path: string; body: object; repository: string },
  send: Send,
): void {
  const { method, path, repository } = asked;
  const wanted = asked.body as Partial<PullRequest>;
  const [owner] = repository.split('/');
  const url = new URL(path, 'http://github');
  const number = Number(/\/pulls\/(\d+)$/.exec(url.pathname)?.[1] ?? 0);
  const side = (ref: string) => ({ ref, sha: 'c'.repeat(40), repo: { full_name: repository } });
  const shown = (pull: PullRequest) => ({
    ...pull,
    number: opened.indexOf(pull) + 1,
    html_url: `https://github.com/${repository}/pull/${opened.indexOf(pull) + 1}`,
    head: side(pull.head),
    base: side(pull.base),
  });
  const found = opened[number - 1];
  if (access === 'none' || (access === 'read' && method !== 'GET')) {
    send(403, { message: 'Resource not accessible by personal access token' });
  } else if (number > 0 && !found) {
    send(404, { message: 'Not Found' });
  } else if (found) {
    if (method === 'PATCH') Object.assign(found, wanted);
    send(200, shown(found));
  } else if (method === 'GET') {
    const head = url.searchParams.get('head');
    const listed = opened.filter(
      (pull) => pull.state === 'open' && `${owner}:${pull.head}` === head,
    );
    send(200, listed.map(shown));
  } else if (!branches.includes(wanted.head ?? '')) {
    send(422, { message: 'Validation Failed: head is invalid' });
  } else if (opened.some(({ head, state }) => head === wanted.head && state === 'open')) {
    send(422, { message: 'Validation Failed: A pull request already exists' });
  } else {
    const pull = { title: '', body: '', head: '', base: '', ...wanted, state: 'open' } as const;
    opened.push(pull);
    send(201, shown(pull));
  }
}
