/**
 * `berth jobs list|show|cancel|retry`: calls the server in the same pod, with an API token. It shows and changes the
 * jobs of that token.
 * Invariant: texts of jobs are made safe for a terminal, since callers choose them.
 */
import { BerthError } from '../../shared/errors.ts';
import { printable } from '../../shared/printable.ts';
import type { Listen } from '../../shared/setting-types.ts';
import type { JobView } from '../jobs/job-view.ts';
import { callServer } from './call-server.ts';

export interface JobsCall {
  /** `list`, `show`, `cancel` or `retry`. */
  action: string;
  /** The id of the job; undefined for `list`. */
  id: string | undefined;
  /** Only jobs in these states, with commas between them; for `list`. */
  state?: string | undefined;
  /** Whether `list` prints JSON instead of a table. */
  json?: boolean | undefined;
  token: string;
  /** Where the server listens. */
  at: Listen;
}

const calls = {
  show: { method: 'GET', path: '' },
  cancel: { method: 'POST', path: '/cancel' },
  retry: { method: 'POST', path: '/retry' },
} as const;

/** Jobs of a list at most. */
const mostListed = 200;

/**
 * @returns the text for a person
 * @throws BerthError `config_invalid` if the call is wrong, or if the server cannot be reached or refuses
 */
export async function callJobs(call: JobsCall): Promise<string> {
  const { action, id, token, at } = call;
  if (action === 'list' && id === undefined) return listJobs(call);
  if (!Object.hasOwn(calls, action) || id === undefined) {
    throw new BerthError(
      'config_invalid',
      `cannot run berth jobs ${printable(action)}: ${Object.hasOwn(calls, action) ? 'it needs the id of a job' : 'there is no such action'}; use list, show ID, cancel ID or retry ID`,
    );
  }
  const { method, path } = calls[action as keyof typeof calls];
  const where = `/v1/jobs/${encodeURIComponent(id)}${path}`;
  const text = await callServer({ what: `${action} the job`, method, path: where, token, at });
  return `${pretty(JSON.parse(text))}\n`;
}

async function listJobs({ state, json, token, at }: JobsCall): Promise<string> {
  const query = `limit=${mostListed}${state === undefined ? '' : `&state=${encodeURIComponent(state)}`}`;
  const call = { method: 'GET', path: `/v1/jobs?${query}`, token, at } as const;
  const page = JSON.parse(await callServer({ ...call, what: 'list the jobs' })) as JobPageView;
  if (json) return `${pretty(page)}\n`;
  if (page.jobs.length === 0) return 'This token has no such jobs.\n';
  const rows = [['ID', 'STATE', 'CREATED', 'PROFILE', 'ATTEMPTS', 'DETAIL'], ...page.jobs.map(row)];
  const widths = rows[0]?.map((_, column) =>
    Math.max(...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  const lines = rows.map((cells) =>
    cells
      .map((cell, column) => cell.padEnd(widths?.[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  const more = page.next === null ? '' : `\nThere are more: these are the newest ${mostListed}.`;
  return `${lines.join('\n')}${more}\n`;
}

interface JobPageView {
  jobs: JobView[];
  next: string | null;
}

function row(job: JobView): string[] {
  const { id, state, created_at, profile, attempts } = job;
  return [id, state, created_at, profile, `${attempts.length}`, detailOf(job)].map((cell) =>
    printable(cell).slice(0, 200),
  );
}

/** What a person wants to know of a job that has not simply succeeded. */
function detailOf({ state, parked, error, not_before, callback }: JobView): string {
  if (parked) return `${parked.reason}${parked.until === null ? '' : ` until ${parked.until}`}`;
  if (state === 'scheduled' && not_before !== null) return `begins at ${not_before}`;
  if (error) return error.code;
  return callback?.state === 'failed' ? 'its callback was not delivered' : '';
}

/** JSON of several lines, in which control characters of texts are escaped. */
function pretty(value: unknown): string {
  return JSON.stringify(value, undefined, 2)
    .split('\n')
    .map((line) => printable(line))
    .join('\n');
}
