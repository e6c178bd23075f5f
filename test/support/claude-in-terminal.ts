/** The real CLI at a terminal of its own (`script` makes it), as a person would see it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { realClaude } from './claude.ts';
import { processesOf } from './processes.ts';
import { until } from './until.ts';

export interface Surroundings {
  /** Of the stand-in Messages API. */
  api: string;
  configDirectory: string;
  home: string;
  workspace: string;
}

export interface Terminal {
  /** Everything written so far, without what moves the cursor and colours the text. */
  screen(): string;
  /** Waits until the screen shows it. */
  shows(pattern: RegExp): Promise<void>;
  end(): Promise<void>;
}

/** Starts it logged in by a credentials file, in the workspace; ended with the test at the latest. */
export function startClaudeInTerminal(t: Test, surroundings: Surroundings): Terminal {
  const { api, configDirectory, home, workspace } = surroundings;
  writeFileSync(join(configDirectory, '.credentials.json'), JSON.stringify(login));
  const command = `stty rows 50 cols 160; exec ${realClaude}`;
  const child = spawn('script', ['-qfec', command, '/dev/null'], {
    cwd: workspace,
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH ?? '',
      HOME: home,
      TERM: 'xterm-256color',
      CLAUDE_CONFIG_DIR: configDirectory,
      ANTHROPIC_BASE_URL: api,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      DISABLE_AUTOUPDATER: '1',
      // By which it is found again.
      BERTH_WORKER: 'terminal',
    },
  });
  const exited = once(child, 'exit');
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  const screen = () => plain(text);
  const end = async () => {
    // Its terminal is gone with it: the CLI ends by SIGHUP.
    child.kill('SIGKILL');
    await exited;
    await until('the CLI has ended', () => processesOf(configDirectory).length === 0);
  };
  t.teardown(end);
  return {
    screen,
    end,
    async shows(pattern) {
      await until(`the terminal shows ${pattern}`, () => pattern.test(screen()));
    },
  };
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

/** Words are often set apart by moving the cursor instead of a blank. */
function plain(text: string): string {
  return (
    text
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
      .replace(/\x1b\[\d*[CG]/g, ' ')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
      .replace(/\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b[[(][0-9;?<>=]*[A-Za-z]/g, '')
      .replace(/[\r\n ]+/g, ' ')
  );
}
