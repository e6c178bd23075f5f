/**
 * The real CLI, or a scripted one, as berth starts it: with its own folders, its own environment and
 * the stand-in Messages API.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { cliEnvironment } from '../../supervisor/claude/environment.ts';
import { cliArguments } from '../../supervisor/claude/flags.ts';
import { ClaudeProcess } from '../../supervisor/claude/process.ts';
import type { ProcessOptions } from '../../supervisor/claude/process-options.ts';
import { testDirectory } from './directory.ts';
import { type MessagesApi, startMessagesApi } from './messages-api.ts';

export const realClaude = join(import.meta.dirname, '../../node_modules/.bin/claude');

/** A scripted process, named for what it does: `claude-that-exits` ... */
export const scripted = (name: string): string =>
  join(import.meta.dirname, 'fixtures', `${name}.mjs`);

/** Says and stores what the real CLI does, as far as the supervisor's own logic needs it. */
export const scriptedClaude = join(import.meta.dirname, 'fixtures/claude-scripted');

/** settings.json with which the Bash tool may run anything. */
export const bashAllowed = JSON.stringify({ permissions: { allow: ['Bash'] } });

export interface Surroundings {
  api: MessagesApi;
  /** The CLI's configuration directory, the volume. */
  config: string;
  workspace: string;
  /** What the supervisor inherits. */
  inherited: Record<string, string>;
}

/** A stand-in API and folders, gone with the test. */
export async function makeSurroundings(
  t: Test,
  config: Record<string, string> = {},
): Promise<Surroundings> {
  const directory = testDirectory(t, { config, home: {}, workspace: {} });
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  return surroundingsIn(directory, api);
}

/** The same folders again, for a second supervisor on them. */
export function surroundingsIn(directory: string, api: MessagesApi): Surroundings {
  for (const name of ['config', 'home', 'workspace']) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  return {
    api,
    config: join(directory, 'config'),
    workspace: join(directory, 'workspace'),
    inherited: {
      PATH: process.env.PATH ?? '',
      HOME: join(directory, 'home'),
      TMPDIR: process.env.TMPDIR ?? '/tmp',
      ANTHROPIC_BASE_URL: api.url,
      ANTHROPIC_API_KEY: 'sk-ant-test-not-a-key',
      CLAUDE_CODE_MAX_RETRIES: '0',
    },
  };
}

/** One CLI process as the pool would start it; ended with the test. */
export function startProcess(
  t: Test,
  { config, workspace, inherited }: Surroundings,
  options: Partial<ProcessOptions> & { name?: string; resume?: string } = {},
): ClaudeProcess {
  const { name = 'worker-1', resume, ...rest } = options;
  const process = new ClaudeProcess({
    path: realClaude,
    arguments: cliArguments({ resume }),
    environment: cliEnvironment(inherited, config, name),
    workingDirectory: workspace,
    onStray: () => {},
    ...rest,
  });
  t.teardown(() => process.stop());
  return process;
}
