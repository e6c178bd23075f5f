import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { answerOnboarding } from '../../../../init/login/onboarding.ts';
import { openAside } from '../../../../shared/set-aside.ts';
import { captureLog, conflictsIn } from '../../../init/fixture.ts';
import { startClaudeInTerminal } from '../../../support/claude-in-terminal.ts';
import { testDirectory } from '../../../support/directory.ts';
import { startMessagesApi } from '../../../support/messages-api.ts';

function prepareVolume(t: Test, files: Record<string, string> = {}) {
  const directory = testDirectory(t, { volume: files, home: {}, workspace: {} });
  const volume = join(directory, 'volume');
  const workspace = join(directory, 'workspace');
  const { log, lines } = captureLog();
  const path = join(volume, '.claude.json');
  return {
    directory,
    volume,
    workspace,
    path,
    lines,
    read: () => JSON.parse(readFileSync(path, 'utf8')),
    answer: () =>
      answerOnboarding({
        configDirectory: volume,
        workspaceDirectory: workspace,
        owner: undefined,
        conflicts: openAside(join(volume, '.berth/conflicts'), 'test'),
        lease: { assertHeld: async () => undefined },
        log,
      }),
  };
}

t.test('an empty volume gets the two answers and nothing else', async (t) => {
  const place = prepareVolume(t);
  t.equal(await place.answer(), true);
  t.strictSame(place.read(), {
    hasCompletedOnboarding: true,
    projects: { [place.workspace]: { hasTrustDialogAccepted: true } },
  });
  t.equal(statSync(place.path).mode & 0o777, 0o600);
  const { ino } = statSync(place.path);
  t.equal(await place.answer(), false);
  t.equal(statSync(place.path).ino, ino, 'and is not written again');
});

t.test('everything else that the CLI keeps there stays', async (t) => {
  const kept = {
    numStartups: 7,
    mcpServers: { files: { command: 'x', env: { A: '1' } } },
    __proto: { a: null },
    hasCompletedOnboarding: false,
  };
  const place = prepareVolume(t);
  const other = { allowedTools: ['Bash'], hasTrustDialogAccepted: false };
  const projects = { '/other': other, [place.workspace]: { lastCost: 1.5, ...other } };
  writeFileSync(place.path, JSON.stringify({ ...kept, projects }));
  t.equal(await place.answer(), true);
  t.strictSame(place.read(), {
    ...kept,
    hasCompletedOnboarding: true,
    projects: {
      '/other': other,
      [place.workspace]: { lastCost: 1.5, allowedTools: ['Bash'], hasTrustDialogAccepted: true },
    },
  });
});

t.test(
  'an unusable .claude.json is set aside, and the newest complete backup is restored',
  async (t) => {
    const torn = ['', '{"numStartups":7,"proj', '\0\0\0\0', '[]', 'null', '{"projects":[]}'];
    for (const text of torn) {
      const place = prepareVolume(t, { '.claude.json': text });
      mkdirSync(join(place.volume, 'backups'));
      const backup = (time: number, content: string) =>
        writeFileSync(join(place.volume, `backups/.claude.json.backup.${time}`), content);
      backup(1795449075403, '{"numStartups":5}');
      backup(1795449075404, '{"numStartups":6}');
      backup(1795449075405, '{"numSta');
      t.equal(await place.answer(), true);
      t.match(place.read(), { numStartups: 6, hasCompletedOnboarding: true }, JSON.stringify(text));
      t.strictSame(conflictsIn(place.volume), ['.claude.json']);
      t.match(place.lines[0], { level: 'warn', event: 'onboarding_answered', saved: String });
    }
  },
);

t.test('a symlink or directory in its place is set aside, not followed', async (t) => {
  const place = prepareVolume(t);
  const outside = join(place.directory, 'outside.json');
  writeFileSync(outside, '{"a":1}');
  symlinkSync(outside, place.path);
  await place.answer();
  t.ok(lstatSync(place.path).isFile());
  t.notMatch(place.read(), { a: 1 });
  t.equal(readFileSync(outside, 'utf8'), '{"a":1}');

  const other = prepareVolume(t);
  mkdirSync(join(other.path, 'x'), { recursive: true });
  await other.answer();
  t.ok(lstatSync(other.path).isFile());
  t.ok(existsSync(join(other.volume, '.berth/conflicts')));
});

t.test('the real CLI asks for neither onboarding nor trust', async (t) => {
  const api = await startMessagesApi();
  t.teardown(() => api.close());
  const place = prepareVolume(t);
  const start = () =>
    startClaudeInTerminal(t, {
      api: api.url,
      configDirectory: place.volume,
      home: join(place.directory, 'home'),
      workspace: place.workspace,
    });
  const before = start();
  await before.shows(/Let's get started|Choose the text style|Welcome to Claude Code/i);
  await before.end();

  await place.answer();
  const after = start();
  await after.shows(/for agents|for shortcuts|auto mode|\? for/i);
  t.notMatch(after.screen(), /trust this folder|text style|get started/i);
  await after.end();
  t.match(place.read(), { hasCompletedOnboarding: true });
});
