/** Makes the error that a caller gets from what git has written before it ended. */
import { BerthError, type ErrorCode, systemCode } from '../../shared/errors.ts';
import { printable } from '../../shared/printable.ts';
import type { GitEnd } from '../claude/git.ts';

interface Failure {
  pattern: RegExp;
  code: ErrorCode;
  remedy: string;
}

const failures: readonly Failure[] = [
  {
    pattern: /No space left on device|Disk quota exceeded/i,
    code: 'disk_full',
    remedy: 'free space there, enlarge it, or remove sessions (DELETE /v1/sessions/{id})',
  },
  {
    pattern: /does not list it|returned error: 403/,
    code: 'workspace_refused',
    remedy: 'add the repository to BERTH_GATEWAY_REPOS of init (docs/gateway.md)',
  },
  {
    pattern: /repository .* not found|does not exist|returned error: (404|410)|not our ref/i,
    code: 'workspace_not_found',
    remedy: 'check the name, and whether the token of init may read the repository',
  },
  {
    pattern: /^error: invalid path|File name too long|would be overwritten/m,
    code: 'workspace_refused',
    remedy: 'rename the files in the repository, or send another "ref" or "path"',
  },
  {
    pattern:
      /unable to access|remote error|RPC failed|could not read from remote|early EOF|hung up|fetch-pack|unpack failed|Connection|timed out|returned error: \d/i,
    code: 'workspace_unavailable',
    remedy: 'check that init stays and its gateway runs (docs/gateway.md), and see its log',
  },
];

/** git names an object of its own repository. A line of the server begins with `remote: `. */
const ownDamage = /^(?:fatal|error): (?:packed|loose) object .* is corrupt/m;

/** Whether git has failed because of the server, the network or the disk, and not because of its repository. */
export function isFromOutside({ stderr }: GitEnd): boolean {
  return !ownDamage.test(stderr) && failures.some(({ pattern }) => pattern.test(stderr));
}

/** Whether a call of the file system has failed because the disk or its quota is full. */
export function isNoSpace(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(systemCode(error) ?? '');
}

/** @param what completes "cannot ..." */
export function failureOf(what: string, end: GitEnd): BerthError {
  const found = failures.find(({ pattern }) => pattern.test(end.stderr));
  const cause = causeIn(end);
  if (found) return new BerthError(found.code, `cannot ${what}: ${cause}; ${found.remedy}`);
  return new BerthError(
    'workspace_unavailable',
    `cannot ${what}: git failed (${cause}); try again, and see the log if it fails again`,
  );
}

/** The lines of git that name the cause, in one line. */
export function causeIn({ stderr, code }: GitEnd): string {
  const lines = stderr.split('\n').map((line) => line.trim());
  const remote = lines.filter((line) => line.startsWith('remote: '));
  const own = lines.filter((line) => /^(fatal|error|! )/.test(line));
  const text = [...remote.map((line) => line.slice('remote: '.length)), ...own].join(' ');
  return printable(text || lines.at(-1) || `it ended with ${code}`).slice(0, 600);
}
