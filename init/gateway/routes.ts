/**
 * The paths of the gateway: `/OWNER/REPO[.git]/info/refs` and its kin for git, and two calls for pull
 * requests.
 * Invariants: a path with an escape, an empty segment or a dot segment is refused before any other check.
 */
import { type Place, placeOf, type RepositoryPattern } from './repository-pattern.ts';
import type { Service } from './upstream.ts';

export type Route =
  | { kind: 'git'; place: Place; service: Service; isDiscovery: boolean }
  | { kind: 'open-pull' }
  | { kind: 'read-pull'; place: Place; number: number };

export interface Refusal {
  status: number;
  text: string;
  /** The client is git-lfs, which reads JSON. */
  isLfs?: boolean;
}

const plainPath = /^(?:\/[A-Za-z0-9._:-]+)+$/;
const longest = 1_000;
const services: readonly string[] = ['git-upload-pack', 'git-receive-pack'] satisfies Service[];

const refuse = (status: number, text: string): Refusal => ({ status, text });

/**
 * @param home the origin of the server of BERTH_REPO
 * @param patterns for the names of other hosts
 */
export function routeOf(
  method: string,
  url: string,
  home: string,
  patterns: readonly RepositoryPattern[],
): Route | Refusal {
  const [path = '', query] = url.split('?', 2);
  const isPlain = url.length <= longest && plainPath.test(path);
  if (!isPlain || path.split('/').some((each) => each === '.' || each === '..')) {
    return refuse(400, 'the path is not plain; use http://127.0.0.1:9418/OWNER/REPO');
  }
  if (path === '/pull-requests') {
    return method === 'POST' ? { kind: 'open-pull' } : refuse(405, 'use POST /pull-requests');
  }
  const pull = /^\/(.+)\/pulls\/(\d{1,9})$/.exec(path);
  const git = /^\/(.+?)\/(info\/refs|info\/lfs(?:\/.*)?|git-upload-pack|git-receive-pack)$/.exec(
    path,
  );
  const place = placeOf(pull?.[1] ?? git?.[1] ?? '', home, patterns);
  if (!place) {
    return refuse(
      404,
      'there is no such resource; use git with http://127.0.0.1:9418/OWNER/REPO (smart HTTP only), POST /pull-requests or GET /OWNER/REPO/pulls/N',
    );
  }
  if (pull) {
    if (method !== 'GET') return refuse(405, 'use GET for a pull request');
    return { kind: 'read-pull', place, number: Number(pull[2]) };
  }
  return gitRoute(method, place, git?.[2] ?? '', query);
}

function gitRoute(
  method: string,
  place: Place,
  rest: string,
  query: string | undefined,
): Route | Refusal {
  if (rest.startsWith('info/lfs')) {
    const text =
      'the gateway does not serve Git LFS; clone without the files (GIT_LFS_SKIP_SMUDGE=1), or let the operator store the files in git';
    return { status: 501, text, isLfs: true };
  }
  if (rest === 'info/refs') {
    const service = services.find((each) => query === `service=${each}`);
    if (service === undefined)
      return refuse(403, 'dumb HTTP is not supported; use a git that speaks smart HTTP');
    if (method !== 'GET') return refuse(405, 'use GET for info/refs');
    return { kind: 'git', place, service: service as Service, isDiscovery: true };
  }
  if (method !== 'POST') return refuse(405, `use POST for ${rest}`);
  return { kind: 'git', place, service: rest as Service, isDiscovery: false };
}
