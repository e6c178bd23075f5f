/** The real CLI at a terminal of its own, as a person would see it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { realClaude } from './claude.ts';
import { processesOf } from './processes.ts';
import { startInTerminal } from './terminal.ts';
import { until } from './until.ts';

export interface Surroundings {
  /** Of the stand-in Messages API. */
  api: string;
  configDirectory: string;
  home: string;
  workspace: string;
}

/** Starts it logged in by a credentials file, in the workspace; ended with the test at the latest. */
export function startClaudeInTerminal(t: Test, surroundings: Surroundings) {
  const { api, configDirectory, home, workspace } = surroundings;
  writeFileSync(join(configDirectory, '.credentials.json'), JSON.stringify(login));
  const { screen, shows, hangUp } = startInTerminal(t, {
    command: realClaude,
    workingDirectory: workspace,
    environment: {
      PATH: process.env.PATH ?? '',
      HOME: home,
      CLAUDE_CONFIG_DIR: configDirectory,
      ANTHROPIC_BASE_URL: api,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      DISABLE_AUTOUPDATER: '1',
      // By which it is found again.
      BERTH_WORKER: 'terminal',
    },
  });
  const end = async () => {
    // Its terminal is gone with it: the CLI ends by SIGHUP.
    await hangUp();
    await until('the CLI has ended', () => processesOf(configDirectory).length === 0);
  };
  t.teardown(end);
  return { screen, shows, end };
}

const login = {
  claudeAiOauth: {
    accessToken: 'sk-ant-oat01-not-a-token-0123456789',
    refreshToken: 'sk-ant-ort01-not-a-token-0123456789',
    expiresAt: Date.UTC(2040, 0, 1),
    scopes: ['user:inference', 'user:profile'],
    subscriptionType: 'max',
  },
};
