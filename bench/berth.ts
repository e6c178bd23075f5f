/**
 * Runs the supervisor's bundle as a separate process, for the benchmarks that call it over HTTP.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { imageStart } from '../scripts/bundle-supervisor.ts';
import { makeToken, tokenLine } from '../supervisor/http/tokens.ts';
import { startProgram } from '../test/support/programs.ts';
import type { PromptTarget } from '../test/support/prompt.ts';
import { until } from '../test/support/until.ts';

/** Not a real key: only the stand-in receives it. */
export const apiKey = 'sk-ant-bench-0123456789';

export interface Berth extends PromptTarget {
  pid: number;
  /** Milliseconds from its start to the log line that it listens. */
  startedIn: number;
}

/**
 * Starts `berth serve` as its image does, with its default settings and the changes in `settings`;
 * `cleanup` ends it.
 * @param directory its configuration directory, created if it is missing; the workspace is inside
 */
export async function startBerth(
  directory: string,
  settings: Record<string, string>,
  cleanup: AsyncDisposableStack,
): Promise<Berth> {
  const token = makeToken();
  await mkdir(directory, { recursive: true });
  const tokens = join(directory, '..', `${crypto.randomUUID()}.tokens`);
  await writeFile(tokens, tokenLine('bench', token));
  const started = performance.now();
  const image = imageStart(join(import.meta.dirname, '../dist'));
  const program = startProgram('serve', {
    start: image.arguments,
    arguments: ['serve'],
    environment: {
      ...image.environment,
      // The CLI writes there beside its configuration.
      HOME: directory,
      ANTHROPIC_API_KEY: apiKey,
      BERTH_CONFIG_DIR: directory,
      BERTH_WORKSPACE_DIR: join(directory, 'workspace'),
      BERTH_API_TOKENS_FILE: tokens,
      BERTH_HTTP_LISTEN: '127.0.0.1:0',
      BERTH_DRAIN_DELAY: '0s',
      BERTH_METRICS_LISTEN: '127.0.0.1:0',
      ...settings,
    },
  });
  cleanup.defer(async () => {
    program.kill('SIGTERM');
    await program.ended;
  });
  const { address } = await program.logged('listening');
  const startedIn = performance.now() - started;
  return { url: String(address), token, pid: program.pid, startedIn };
}

/**
 * Resolves when a worker has been warm for a moment, as when prompts are further apart than the
 * pool needs.
 */
export async function warmWorker(target: PromptTarget, count = 1): Promise<void> {
  await until(
    `${count} workers are warm`,
    async () => (await workersOf(target)).filter(({ state }) => state === 'warm').length >= count,
    60_000,
  );
  await delay(settling);
}

/** Milliseconds for which the CLI continues its own start after its first answer. */
export const settling = 1_000;

export interface WorkerStatus {
  state: string;
  pid: number;
  session_id: string | null;
}

export async function workersOf({ url, token }: PromptTarget): Promise<WorkerStatus[]> {
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(`${url}/v1/status`, { headers });
  return ((await response.json()) as { workers: WorkerStatus[] }).workers;
}

/** @throws Error with the body if the answer is neither `ok` nor structured */
export function expectAnswer({
  status,
  body,
}: {
  status: number;
  body: Record<string, unknown>;
}): void {
  const answered = body.result === 'ok' || body.structured_output != null;
  if (status !== 200 || !answered) throw new Error(JSON.stringify(body));
}
