/**
 * Asks the CLI how much of its usage windows a subscription has used: the control request `get_usage`, which calls
 * `GET https://api.anthropic.com/api/oauth/usage` (seen with the CLI 2.1.330).
 * Invariants: a process of its own answers, in an empty configuration directory that is removed afterwards. If berth is
 * killed first, its next start removes the directory. Workers cannot answer: berth sets
 * CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC for them, and then the CLI answers null without a request.
 * The process gets no refresh token, so it can neither refresh nor lose the login. What the CLI answers is parsed and
 * bounded.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { BerthError } from '../../shared/errors.ts';
import { removeTree } from '../../shared/remove-tree.ts';
import { withDeadline } from '../../shared/waiting.ts';
import { cliEnvironment } from './environment.ts';
import { cliArguments } from './flags.ts';
import { ClaudeProcess } from './process.ts';
import type { LimitWindow } from './usage-limit.ts';

export interface UsageQuery {
  /** The CLI's executable. */
  path: string;
  /** The supervisor's own environment. */
  inherited: Readonly<Record<string, string | undefined>>;
  /** The text of the login file. */
  login: string;
  /** The workers' configuration directory: it stands for the volume. */
  configDirectory: string;
  temporaryDirectory: string;
  /** Ends the process at once. */
  signal?: AbortSignal | undefined;
}

/** Milliseconds for the start, the call and the answer. */
const patience = 60_000;

/** The login without its refresh token. */
const accessOnly = z.object({
  claudeAiOauth: z.object({
    accessToken: z.string(),
    expiresAt: z.number(),
    scopes: z.array(z.string()),
    subscriptionType: z.string().nullish(),
  }),
});

const window = z.object({
  utilization: z.number().nonnegative().max(10_000),
  resets_at: z.iso.datetime({ offset: true }).nullish().catch(null),
});

const answer = z.object({
  rate_limits: z.record(z.string(), z.unknown()).nullable(),
});

/**
 * The used windows by name; undefined if the login has none, or the CLI could not read them.
 * @throws BerthError `cli_unavailable` if the CLI does not answer
 */
export async function queryUsage({
  path,
  inherited,
  login,
  configDirectory,
  temporaryDirectory,
  signal,
}: UsageQuery): Promise<Record<string, LimitWindow> | undefined> {
  const directory = await mkdtemp(join(temporaryDirectory, prefixFor(configDirectory)));
  try {
    const content = JSON.stringify(accessOnly.parse(JSON.parse(login)));
    await writeFile(join(directory, '.credentials.json'), content, { mode: 0o600 });
    const environment = cliEnvironment(inherited, directory, 'usage');
    delete environment.CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC;
    environment.CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL = '1';
    const process = new ClaudeProcess({
      ...{ path, environment, workingDirectory: directory },
      arguments: cliArguments({}),
      onStray: () => {},
    });
    const end = (): void => void process.stop(0);
    signal?.addEventListener('abort', end, { once: true });
    if (signal?.aborted) end();
    try {
      const asked = process.control({ subtype: 'get_usage', skip_behaviors: true });
      return windowsIn(await withDeadline(asked, patience, tooSlow));
    } finally {
      signal?.removeEventListener('abort', end);
      await process.stop();
    }
  } finally {
    await removeTree(directory).catch(() => undefined);
  }
}

/**
 * Removes the directories, each with an access token, of queries during which berth was killed. Call it with the lease on
 * the volume, so that no other program has a query for this volume under way; never rejects.
 */
export async function removeLeftQueries({
  configDirectory,
  temporaryDirectory,
}: Pick<UsageQuery, 'configDirectory' | 'temporaryDirectory'>): Promise<void> {
  const prefix = prefixFor(configDirectory);
  const names = await readdir(temporaryDirectory).catch((): string[] => []);
  for (const name of names.filter((each) => each.startsWith(prefix))) {
    await removeTree(join(temporaryDirectory, name)).catch(() => undefined);
  }
}

/** The programs of several volumes may share a temporary directory. Exported for tests. */
export function prefixFor(configDirectory: string): string {
  const volume = createHash('sha256').update(configDirectory).digest('hex').slice(0, 12);
  return `berth-usage-${volume}-`;
}

/** The windows of an answer to `get_usage`. Exported for tests. */
export function windowsIn(response: unknown): Record<string, LimitWindow> | undefined {
  const parsed = answer.safeParse(response);
  if (!parsed.success || parsed.data.rate_limits === null) return undefined;
  const found = ['five_hour', 'seven_day', 'seven_day_opus', 'seven_day_sonnet'].flatMap((name) => {
    const each = window.safeParse(parsed.data.rate_limits?.[name]);
    if (!each.success) return [];
    const { utilization, resets_at } = each.data;
    const resetsAt = resets_at ? Date.parse(resets_at) : undefined;
    return [[name, { utilization: utilization / 100, resetsAt }] as const];
  });
  return found.length > 0 ? Object.fromEntries(found) : undefined;
}

function tooSlow(): BerthError {
  return new BerthError(
    'cli_unavailable',
    `cannot read the usage of the account: the CLI did not answer within ${patience / 1_000} s; see whether api.anthropic.com can be reached`,
  );
}
