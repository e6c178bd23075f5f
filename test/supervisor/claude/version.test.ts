import { join } from 'node:path';
import t from 'tap';
import { checkVersion } from '../../../supervisor/claude/version.ts';
import { realClaude, scripted } from '../../support/claude.ts';
import { testDirectory } from '../../support/directory.ts';

const environment = { PATH: process.env.PATH ?? '', HOME: '/nonexistent' };

t.test('the version of the real CLI is read and will do', async (t) => {
  t.equal(await checkVersion(realClaude, environment), '2.1.330');
});

t.test('it is found on the PATH that the CLI itself would have', async (t) => {
  const path = join(realClaude, '..');
  t.equal(await checkVersion('claude', { ...environment, PATH: path }), '2.1.330');
});

t.test('a missing CLI is an error with the install command', async (t) => {
  await t.rejects(checkVersion('/nowhere/claude', environment), {
    code: 'cli_unavailable',
    message:
      /^cannot run .* \/nowhere\/claude: the program does not exist; install it \(npm .*BERTH_CLAUDE_PATH$/,
  });
});

t.test('a CLI that fails is an error with the cause', async (t) => {
  const broken = join(
    testDirectory(t, { claude: '#!/bin/sh\necho no libc >&2; exit 1\n' }),
    'claude',
  );
  await t.rejects(checkVersion(broken, environment), { message: /EACCES.*; install it/ });
  await t.rejects(checkVersion('/bin/false', environment), {
    code: 'cli_unavailable',
    message: /Command failed: \/bin\/false --version/,
  });
});

t.test('a CLI that is too old is an error that names both versions', async (t) => {
  await t.rejects(checkVersion(scripted('claude-that-is-old'), environment), {
    code: 'cli_unavailable',
    message:
      /it is "2\.1\.197 \(Claude Code\)", but 2\.1\.309 or later is required; install one \(npm/,
  });
});

t.test('another program with the same name is an error that quotes its output', async (t) => {
  await t.rejects(checkVersion(scripted('claude-that-is-no-claude'), environment), {
    code: 'cli_unavailable',
    message: /it is "Claude, the pretty printer/,
  });
});
