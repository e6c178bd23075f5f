import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { goodCommitsFile, LastGoodCommit } from '../../../supervisor/boot/last-good-commit.ts';
import { captureLog } from '../../support/captured-log.ts';
import { testDirectory } from '../../support/directory.ts';

const one = '1'.repeat(40);
const two = '2'.repeat(40);
const failure = new BerthError('cli_unavailable', 'cannot start: it ended', { details: { a: 1 } });

async function load(directory: string, commit?: string, repository = 'somebody/dot-claude') {
  if (commit !== undefined) {
    const report = { version: 1, repository, commit, volume: 'complete' };
    writeFileSync(join(directory, 'report.json'), JSON.stringify(report));
  }
  const log = captureLog();
  const lastGood = new LastGoodCommit(directory, log.log);
  await lastGood.load();
  return { lastGood, log };
}

t.test(
  'failed starts after a new commit are reported with the new and the last good commit',
  async (t) => {
    const directory = testDirectory(t, {});
    const before = await load(directory, one);
    before.lastGood.ready('default');
    t.equal(before.lastGood.explain('default', failure), failure, 'it is a good one');
    await before.lastGood.flush();

    const { lastGood } = await load(directory, two);
    t.match(lastGood.explain('default', failure), {
      code: 'cli_unavailable',
      message:
        /^cannot start: it ended; starts fail since commit 2222222 \(last good 1111111\) of the \.claude repository: /,
      details: { a: 1, commit: two, last_good_commit: one },
    });
    t.equal(lastGood.explain('never-started', failure), failure, 'of it no good commit is known');
    lastGood.ready('other');
    t.not(lastGood.explain('default', failure), failure, "another profile's success is its own");
    lastGood.ready('default');
    t.equal(lastGood.explain('default', failure), failure);
  },
);

t.test('a repository that was changed is named', async (t) => {
  const directory = testDirectory(t, {});
  const before = await load(directory, one);
  before.lastGood.ready('default');
  await before.lastGood.flush();
  const { lastGood } = await load(directory, one, 'somebody/another');
  t.match(
    lastGood.explain('default', failure).message,
    /1111111 of somebody\/another \(last good 1111111 of somebody\/dot-claude\)/,
  );
});

t.test('an invalid file of good commits is neither used nor shown', async (t) => {
  const good = { version: 1, profiles: { default: { repository: 'a/b', commit: one } } };
  const text = JSON.stringify(good);
  for (const [name, content] of Object.entries({
    'half a file': text.slice(0, -20),
    'of a newer version': JSON.stringify({ ...good, version: 2 }),
    'no commit': text.replace(one, 'see https://evil.example'),
    'no repository': text.replace('a/b', 'a b; run this'),
    'too large': `${text}${' '.repeat(100_000)}`,
  })) {
    const directory = testDirectory(t, { [goodCommitsFile]: content });
    const { lastGood } = await load(directory, two);
    t.equal(lastGood.explain('default', failure), failure, name);
  }
  const { lastGood } = await load(testDirectory(t, { [goodCommitsFile]: text }), 'none');
  t.equal(lastGood.explain('default', failure), failure, 'a report that names no commit');
});

t.test('without a report, no error is changed and no file is written', async (t) => {
  const directory = testDirectory(t, {});
  const { lastGood } = await load(directory);
  lastGood.ready('default');
  await lastGood.flush();
  t.throws(() => readFileSync(join(directory, goodCommitsFile)));
});

t.test('a file that cannot be written costs a warning alone', async (t) => {
  const directory = testDirectory(t, {});
  mkdirSync(join(directory, goodCommitsFile));
  const { lastGood, log } = await load(directory, one);
  lastGood.ready('default');
  await lastGood.flush();
  t.match(log.lines, [{ event: 'commit_unrecorded', level: 'warn' }]);
});
