/**
 * Checks what the `berth serve` of this pod reports about the CLI: MCP servers, hooks, plugins and skills that do
 * not work, settings that the CLI ignores, and profiles whose workers do not start; and about the store of jobs.
 * Invariants: the report comes from the metrics port, which needs no token. The report is bounded. Any program
 * of the pod can answer instead of the server, so its texts are only shown.
 */
import { z } from 'zod';
import type { Listen } from '../../shared/setting-types.ts';
import { absent, type Finding, failed, ok, warning } from './check.ts';

/** Milliseconds. */
const patience = 5_000;
/** Characters of a report, and findings that are made from it. */
const longest = 1024 * 1024;
const most = 100;

const report = z.object({
  launch_failures: z.array(z.object({ profile: z.string(), message: z.string() })),
  cli_problems: z.array(
    z.object({ profile: z.string(), kind: z.string(), name: z.string(), problem: z.string() }),
  ),
  settings: z.object({
    ignored: z.array(z.object({ file: z.string(), path: z.string(), message: z.string() })),
  }),
  jobs: z
    .object({ kind: z.string(), available: z.boolean(), problem: z.string().nullable() })
    .nullish(),
});

type Report = z.infer<typeof report>;

const inRepository = 'correct it in the .claude repository, and restart the pod, unless init stays';

export async function checkServer(at: Listen, signal: AbortSignal): Promise<Finding[]> {
  const origin = originOf(at);
  let reported: Report;
  try {
    reported = await ask(new URL('/problems', origin), signal);
  } catch {
    return [absent(origin, 'no berth serve reports its problems here, so they are not known')];
  }
  const findings = [...startsOf(reported), ...settingsOf(reported), ...componentsOf(reported)];
  findings.push(...storeOf(reported));
  if (findings.length === 0) return [ok(origin, 'berth serve reports no problem')];
  const rest = findings.length - most;
  if (rest <= 0) return findings;
  return [
    ...findings.slice(0, most),
    warning(origin, `berth serve reports ${rest} more problems`, 'see GET /v1/status'),
  ];
}

function originOf({ host, port }: Listen): string {
  if (host === '::' || host === '0.0.0.0') return `http://127.0.0.1:${port}`;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

async function ask(url: URL, signal: AbortSignal): Promise<Report> {
  const within = AbortSignal.any([signal, AbortSignal.timeout(patience)]);
  const response = await fetch(url, { signal: within, redirect: 'error' });
  const decoder = new TextDecoder();
  let text = '';
  for await (const part of response.body ?? []) {
    text += decoder.decode(part, { stream: true });
    if (text.length > longest) throw new Error('the report is too long');
  }
  return report.parse(JSON.parse(text));
}

function startsOf({ launch_failures: failures }: Report): Finding[] {
  return failures.map(({ profile, message }) => {
    const [cause = message, ...help] = message.split('; ');
    const remedy = help.join('; ') || 'see `worker_failed` in the log of berth serve';
    return failed(`profile ${profile}`, `no worker starts: ${cause}`, remedy);
  });
}

function storeOf({ jobs }: Report): Finding[] {
  if (!jobs || jobs.available) return [];
  const [cause = '', ...help] = (jobs.problem ?? 'the cause is not known').split('; ');
  const remedy = help.join('; ') || 'see jobs.store of GET /v1/status';
  return [failed(`store of jobs (${jobs.kind})`, cause, remedy)];
}

function settingsOf({ settings: { ignored } }: Report): Finding[] {
  return ignored.map(({ file, path, message }) => {
    const where = path === '' ? 'all of it' : path;
    return failed(file, `the CLI ignores ${where}: ${message}`, inRepository);
  });
}

/** One finding for each component and cause, with the profiles that have it. */
function componentsOf({ cli_problems: problems }: Report): Finding[] {
  const profiles = new Map<string, string[]>();
  const keyOf = ({ kind, name, problem }: Report['cli_problems'][number]): string =>
    JSON.stringify([kind, name, problem]);
  for (const each of problems) {
    profiles.set(keyOf(each), [...(profiles.get(keyOf(each)) ?? []), each.profile]);
  }
  return [...profiles].map(([key, names]) => {
    const [kind, name, problem] = JSON.parse(key) as [string, string, string];
    const detail = `${problem} (${names.length > 1 ? 'profiles' : 'profile'} ${names.join(', ')})`;
    switch (kind) {
      case 'mcp_server':
        return failed(`MCP server ${name}`, `it has no connection: ${detail}`, forServer);
      case 'hook':
        return failed(`hook ${name}`, `it fails, and checks nothing: ${detail}`, inRepository);
      default:
        return warning(`${kind} ${name}`, `it was not loaded: ${detail}`, inRepository);
    }
  });
}

const forServer =
  'repair the server, its egress or its login, or remove it from the profile or the .claude repository';
