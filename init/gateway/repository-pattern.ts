/**
 * The repositories that the gateway may reach: `owner/*`, `owner/name`, and with a host
 * `git.example.com/owner/name` or `https://git.example.com/owner/*`.
 * Invariants: a pattern and a path are compared letter by letter, also in their case. A path that is not
 * plain (`..`, `//`, an escape) is no repository at all.
 */
import { z } from 'zod';

/** A repository of a git server. */
export interface Place {
  /** `https://github.com` */
  origin: string;
  /** `owner/name`, without `.git` */
  path: string;
}

export interface RepositoryPattern {
  /** Undefined: the server of BERTH_REPO. */
  origin: string | undefined;
  /** The last segment may be `*`. */
  segments: readonly string[];
}

const segment = /^(?!\.{1,2}$)(?!-)[A-Za-z0-9._-]{1,100}$/;
const expected =
  'repositories separated by commas, each owner/name, owner/* or host/owner/name, without .git';

export const repositoryPatterns = z.string().transform((text, context): RepositoryPattern[] => {
  const patterns = text.split(',').map((each) => parsePattern(each.trim()));
  if (patterns.every((pattern) => pattern !== undefined)) return patterns;
  context.addIssue({ code: 'custom', message: expected });
  return z.NEVER;
});

function parsePattern(text: string): RepositoryPattern | undefined {
  const [, scheme, rest = ''] = /^(https?:\/\/)?(.+)$/.exec(text) ?? [];
  const all = rest.split('/');
  const hasHost = scheme !== undefined || (all.length > 2 && /[.:]/.test(all[0] ?? ''));
  const url = hasHost ? URL.parse(`${scheme ?? 'https://'}${all[0]}`) : undefined;
  if (hasHost && url?.username !== '') return undefined;
  const segments = hasHost ? all.slice(1) : all;
  const isPlain = segments.every(
    (each, index) =>
      (segment.test(each) && !each.endsWith('.git')) ||
      (each === '*' && index > 0 && index === segments.length - 1),
  );
  if (!isPlain || segments.length < 2 || segments.length > 6) return undefined;
  return { origin: url?.origin, segments };
}

/**
 * The repository of a URL path such as `owner/name` or `git.example.com/owner/name.git`; undefined if
 * the path is not plain.
 * @param home the origin of the server of BERTH_REPO
 */
export function placeOf(
  path: string,
  home: string,
  patterns: readonly RepositoryPattern[],
): Place | undefined {
  const all = path.replace(/\.git$/, '').split('/');
  const origins = [home, ...patterns.map(({ origin }) => origin ?? home)];
  const origin = all.length > 2 && origins.find((each) => new URL(each).host === all[0]);
  const segments = origin ? all.slice(1) : all;
  const isPlain = segments.every((each) => segment.test(each));
  if (!isPlain || segments.length < 2 || segments.length > 6) return undefined;
  return { origin: origin || home, path: segments.join('/') };
}

export function isListed(
  { origin, path }: Place,
  patterns: readonly RepositoryPattern[],
  home: string,
): boolean {
  const given = path.split('/');
  return patterns.some(
    (pattern) =>
      (pattern.origin ?? home) === origin &&
      pattern.segments.length === given.length &&
      pattern.segments.every((each, index) => each === '*' || each === given[index]),
  );
}

/** The URL of the repository without a login, for messages and logs. */
export function urlOf({ origin, path }: Place): string {
  return `${origin}/${path}`;
}
