/**
 * Decides which checkout a prompt gets, and whether its commits may be published.
 * Invariants: a session has one checkout for its life. Only repositories that the profile lists are used, also for a
 * session that began when the profile listed others.
 */
import { BerthError } from '../../shared/errors.ts';
import type { Profile, WorkspaceRules } from '../profiles/profile.ts';
import type { SessionRecord } from '../sessions/session-record.ts';
import { isListed } from '../workspaces/repository-list.ts';
import type { PublishRequest, WorkspaceRequest } from '../workspaces/workspace-request.ts';

/** The fields of a request about workspaces. */
export interface WorkspaceFields {
  workspace?: WorkspaceRequest | undefined;
  publish?: PublishRequest | undefined;
}

/** @throws BerthError `workspace_refused`, `invalid_request` */
export function workspaceOf(
  { workspace, publish }: WorkspaceFields,
  profile: Profile,
  record: SessionRecord | undefined,
): WorkspaceFields {
  const saved = record?.workspace;
  if (record && workspace && workspace.repo !== saved?.repo) throw fixed(record, workspace.repo);
  const wanted = record ? undefined : (workspace ?? profile.workspaces?.default);
  const repo = saved?.repo ?? wanted?.repo;
  if (repo === undefined) {
    if (publish === undefined) return {};
    throw wrong('publish', 'the session has no checkout', 'send "workspace" too');
  }
  const rules = rulesFor(repo, profile);
  if (publish && !rules.publish) {
    throw new BerthError(
      'workspace_refused',
      `cannot publish: the profile ${profile.name} does not allow it; set profiles.${profile.name}.workspaces.publish to true, or omit "publish"`,
    );
  }
  return { ...(wanted ? { workspace: wanted } : {}), ...(publish ? { publish } : {}) };
}

function rulesFor(repo: string, { name, workspaces }: Profile): WorkspaceRules {
  if (workspaces && isListed(repo, workspaces.repos)) return workspaces;
  throw new BerthError(
    'workspace_refused',
    `cannot use the repository ${repo}: the profile ${name} does not list it (names are compared letter by letter); add it to profiles.${name}.workspaces.repos, or use another profile`,
    { details: { field: 'workspace.repo' } },
  );
}

function fixed({ id, workspace }: SessionRecord, repo: string): BerthError {
  const has = workspace ? `it has a checkout of ${workspace.repo}` : 'it began without a checkout';
  return wrong(
    'workspace',
    `the session ${id} cannot get ${repo}: ${has}`,
    'omit the field, or begin a new session',
  );
}

function wrong(field: string, cause: string, remedy: string): BerthError {
  return new BerthError('invalid_request', `cannot use "${field}": ${cause}; ${remedy}`, {
    details: { field },
  });
}
