/**
 * The fields `workspace` and `publish` of a prompt: their schemas, which the API, the store of jobs and the profiles
 * share.
 * Invariants: a name of a repository is plain ASCII without a dot segment, so that no server reads another name from
 * it. A ref and a branch keep the rules of git (git-check-ref-format). A path stays inside the checkout.
 */
import { z } from 'zod';

const repositoryShape = /^[A-Za-z0-9][A-Za-z0-9._-]*(?::\d+)?(?:\/[A-Za-z0-9][A-Za-z0-9._-]*)+$/;
const repositoryError =
  'expected a repository such as "you/app", or "git.example.com/you/app" for another server';

/** Whether `name` is a repository: `owner/name`, with more groups, or with a host. */
export function isRepository(name: string): boolean {
  return name.length <= 300 && repositoryShape.test(name) && !name.endsWith('.git');
}

const refShape = /^(?!-)(?!.*(?:\.\.|@\{|\/\/|\/\.|\.lock(?:\/|$)))(?![/.])[!-~]{1,200}(?<![/.])$/;
const forbidden = /[~^:?*[\\"]/;

/** Whether `name` is a valid name of a branch or tag, in plain ASCII. */
export function isRefName(name: string): boolean {
  return refShape.test(name) && !forbidden.test(name) && name !== '@';
}

/** Whether `ref` is the whole id of a commit. */
export function isCommitId(ref: string): boolean {
  return /^[0-9a-f]{40}$/.test(ref);
}

function isPlainPath(path: string): boolean {
  const parts = path.split('/');
  return (
    path.length <= 1_000 &&
    !/[\p{Cc}\\*?[\]!#]/u.test(path) &&
    parts.every((part) => part !== '' && part !== '.' && part !== '..' && !/^\.git$/i.test(part))
  );
}

const repository = z.string({ error: repositoryError }).refine(isRepository, {
  error: repositoryError,
});
const ref = z
  .string({ error: 'expected a branch, a tag, or the whole id of a commit' })
  .refine(isRefName, { error: 'expected a branch, a tag, or the whole id of a commit' });
const whole = (most: number) => {
  const error = `expected a whole number from 1 to ${most}`;
  return z.int({ error }).min(1, { error }).max(most, { error });
};
const path = z
  .string({ error: 'expected a folder inside the repository, such as "services/shop"' })
  .refine(isPlainPath, {
    error: 'expected a folder inside the repository, such as "services/shop"',
  });

/** What a checkout needs; a profile can have one as its default. */
export const workspaceSchema = z
  .strictObject({
    repo: repository.describe(
      'The repository, such as "you/app"; `workspaces.repos` of the profile must allow it',
    ),
    ref: ref
      .optional()
      .describe('A branch, a tag, or the whole id of a commit; absent: the default branch'),
    pull_request: whole(999_999_999)
      .optional()
      .describe(
        'The number of a pull request: its head is checked out, and `git diff berth/base` shows its change. Not together with ref',
      ),
    path: path
      .optional()
      .describe('Only this folder, and the files above it, are written to the directory'),
    depth: whole(1_000_000)
      .optional()
      .describe('How many commits of the history are fetched at least; absent: all of them'),
  })
  .refine(({ ref: one, pull_request: other }) => one === undefined || other === undefined, {
    error: 'expected ref or pull_request, not both',
  })
  .describe(
    'Gives the session a checkout of a repository as its working directory (docs/workspaces.md)',
  );

export type WorkspaceRequest = z.infer<typeof workspaceSchema>;

const pullRequest = z.strictObject({
  title: z.string().trim().min(1).max(256).optional().describe("Absent: the last commit's subject"),
  body: z.string().max(60_000).optional().describe('Absent: the result of the prompt'),
  base: z
    .string()
    .refine(isRefName, { error: 'expected a branch' })
    .optional()
    .describe(
      'The branch that is to receive the commits; absent: the branch of the checkout, or the head of its pull request',
    ),
  draft: z.boolean().optional().describe('Open the pull request as a draft'),
});

/** What happens with the commits of the session when the turn has ended. */
export const publishSchema = z
  .strictObject({
    branch: z
      .string()
      .refine(isRefName, { error: 'expected a branch' })
      .optional()
      .describe(
        'The branch that receives the commits; absent: that of an earlier turn of the session, or `berth/` and the begin of the session id',
      ),
    pull_request: pullRequest
      .optional()
      .describe('Open a pull request of the branch, or update the open one; `{}` for the defaults'),
  })
  .describe(
    'When the turn has ended, uncommitted changes are committed, and the commits are pushed through the gateway. The profile needs `workspaces.publish: true`',
  );

export type PublishRequest = z.infer<typeof publishSchema>;
