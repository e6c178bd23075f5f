/**
 * Lists the files of supervisor/ that serve a prompt: each file of which a function runs between
 * the request and the answer. The prompt continues a session whose worker is idle. A file counts
 * only if it runs for each of several prompts, so that background timers do not count. The CLI is
 * the scripted CLI of the tests.
 *
 * Usage: `node scripts/prompt-path.ts`. Prints the files by folder, and the number of files.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createLog } from '../shared/log.ts';
import { readSupervisorConfig } from '../supervisor/config.ts';
import { digestToken, fixedTokens } from '../supervisor/http/tokens.ts';
import { Profiles } from '../supervisor/profiles/profiles.ts';
import { Supervisor } from '../supervisor/supervisor.ts';

const root = join(import.meta.dirname, '..');
const token = 'a-token-of-this-script';

const directory = mkdtempSync(join(tmpdir(), 'berth-path-'));
const [configDirectory, workspace, home] = ['config', 'workspace', 'home'].map((name) => {
  const path = join(directory, name);
  mkdirSync(path);
  return path;
});
const log = createLog({
  service: 'prompt-path',
  version: '0',
  level: 'error',
  pretty: true,
});
const { config } = readSupervisorConfig({
  PATH: process.env.PATH ?? '',
  HOME: home,
  ANTHROPIC_API_KEY: 'sk-ant-test-not-a-key',
  BERTH_CONFIG_DIR: configDirectory,
  BERTH_WORKSPACE_DIR: workspace,
  BERTH_CLAUDE_PATH: join(root, 'test/support/fixtures/claude-that-answers.mjs'),
  BERTH_HTTP_LISTEN: '127.0.0.1:0',
  BERTH_METRICS_LISTEN: '127.0.0.1:0',
  BERTH_DRAIN: '0s',
  BERTH_DRAIN_DELAY: '0s',
  BERTH_WARM_WORKERS: '0',
});
const { warmWorkers, maxWorkers, workingDirectory } = config;
const profiles = await Profiles.open({
  ...{ path: undefined, warmWorkers, maxWorkers, workingDirectory, log },
});
const supervisor = new Supervisor({
  config,
  log,
  tokens: fixedTokens([{ name: 'script', digest: digestToken(token) }]),
  profiles,
  testCli: async () => ({ learnsLate: false }),
  onFatal: (error) => {
    throw error;
  },
});

try {
  await supervisor.start(AbortSignal.timeout(30_000));
  const { session_id } = await prompt({});
  const inspector = new Session();
  inspector.connect();
  await inspector.post('Profiler.enable');
  await inspector.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  let passed: string[] | undefined;
  for (let count = 0; count < 8; count += 1) {
    await prompt({ session_id });
    const { result } = await inspector.post('Profiler.takePreciseCoverage');
    const ran = result.filter(({ functions }) => functions.some(runs)).map(({ url }) => url);
    passed = passed?.filter((url) => ran.includes(url)) ?? ran;
  }
  inspector.disconnect();
  report(passed ?? []);
} finally {
  await supervisor.stop();
  await profiles.close();
  rmSync(directory, { recursive: true, force: true });
}

async function prompt(rest: { session_id?: string }): Promise<{ session_id: string }> {
  const response = await fetch(new URL('/v1/prompts', supervisor.addresses.http), {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'hello', ...rest }),
    signal: AbortSignal.timeout(30_000),
  });
  const body = (await response.json()) as { session_id: string };
  if (!response.ok) throw new Error(`the prompt was not answered: ${JSON.stringify(body)}`);
  return body;
}

/** Whether a function has run. The function without a name at offset 0 is the module itself. */
function runs({ functionName, ranges }: { functionName: string; ranges: Range[] }): boolean {
  const [whole] = ranges;
  if (!whole || whole.count === 0) return false;
  return functionName !== '' || whole.startOffset > 0;
}

interface Range {
  startOffset: number;
  count: number;
}

function report(urls: readonly string[]): void {
  const files = urls
    .filter((url) => url.startsWith('file:'))
    .map((url) => relative(root, fileURLToPath(url)).split(sep).join('/'))
    .filter((path) => path.startsWith('supervisor/'))
    .sort();
  const folders = Map.groupBy(files, (path) => path.split('/')[1] ?? '');
  for (const [folder, paths] of folders) {
    console.log(`${folder}: ${paths.length}`);
    for (const path of paths) console.log(`  ${path}`);
  }
  console.log(`${files.length} files`);
}
