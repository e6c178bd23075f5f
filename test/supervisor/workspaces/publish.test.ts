import { mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Git, gitIn } from '../../../supervisor/claude/git.ts';
import { until } from '../../support/until.ts';
import { author, branch, openWorkshop } from './fixture.ts';

t.test(
  'changes are committed by a named author, pushed, and opened as one pull request',
  async (t) => {
    const { make, end, pulls, scene, counted } = await openWorkshop(t);
    const one = await make({ repo: 'me/app' });
    writeFileSync(join(one.directory, 'a name\nwith a line break'), 'x\n');
    writeFileSync(Buffer.from(`${one.directory}/caf\xe9`, 'latin1'), 'x\n');
    writeFileSync(join(one.directory, 'README.md'), '# changed\n');
    mkdirSync(join(one.directory, 'attachments'));
    writeFileSync(join(one.directory, 'attachments/mail.txt'), 'secret');
    const first = await end(one, { pull_request: { title: 'Fix it' } });
    t.match(first, {
      repo: 'me/app',
      branch,
      pull_request_url: 'https://github.com/me/app/pull/1',
      diff_stat: { files: 3, insertions: 3, deletions: 1 },
      remade: false,
      problem: undefined,
    });
    t.equal(scene.app.head(branch), first.commit);
    const shown = await scene.git(scene.app.path, 'log', '-1', '--format=%an <%ae>%n%s', branch);
    t.equal(shown.text, `${author.name} <${author.email}>\nFix it\n`);
    t.match(pulls.opened, [
      { title: 'Fix it', body: 'What was done.', head: branch, base: 'main' },
    ]);
    t.equal(
      (await one.git('status', '--porcelain')).text,
      '',
      'the session goes on from the commit',
    );
    t.match((await one.git('branch', '--show-current')).text, 'main');
    const same = await end(one, { pull_request: { title: 'Fix it' } });
    t.equal(same.commit, first.commit);
    await one.git('commit', '--quiet', '--allow-empty', '-m', 'By the model');
    const second = await end(one, { pull_request: {} });
    t.equal(scene.app.head(branch), second.commit);
    t.equal(pulls.opened.length, 1);
    t.match(pulls.opened, [{ title: 'By the model' }]);
    t.strictSame(counted, ['fetched', 'pushed', 'pushed', 'pushed']);
  },
);

t.test('no .gitignore of the repository gets attached files published', async (t) => {
  const { make, end, scene } = await openWorkshop(t);
  scene.app.commit({ '.gitignore': '!attachments/\n!*\n', 'attachments/.gitignore': '!*\n' });
  const one = await make({ repo: 'me/app' });
  writeFileSync(join(one.directory, 'attachments/mail.txt'), 'secret');
  writeFileSync(join(one.directory, 'attachments/.gitignore'), '!mail.txt\n');
  writeFileSync(join(one.directory, 'new.txt'), 'x');
  t.equal((await end(one, {})).problem, undefined);
  const tree = await scene.git(scene.app.path, 'ls-tree', '--name-only', '-r', branch);
  t.equal(tree.text, '.gitignore\nREADME.md\nattachments/.gitignore\nlarge.txt\nnew.txt\n');
});

t.test('a file that became a directory or a symlink, or the reverse, is published', async (t) => {
  const { make, end, scene } = await openWorkshop(t);
  const before = { 'a/one': '1', 'b/one': '1', 'c/one': '1', file: 'x', link: { symlink: 'file' } };
  scene.app.commit({ ...before, sub: { submodule: scene.app.head() } });
  const one = await make({ repo: 'me/app' });
  const at = (name: string) => join(one.directory, name);
  for (const name of ['a', 'b', 'c', 'file', 'link', 'README.md']) {
    rmSync(at(name), { recursive: true });
  }
  writeFileSync(at('a'), 'a file');
  symlinkSync('link', at('b'));
  for (const name of ['file', 'link', 'README.md']) mkdirSync(at(name));
  // The name is the same behind the symlink.
  for (const name of ['file/x', 'link/one']) writeFileSync(at(name), 'x');
  t.match(await end(one, {}), { problem: undefined });
  const tree = await scene.git(scene.app.path, 'ls-tree', '-r', branch);
  t.strictSame(
    tree.text
      .trim()
      .split('\n')
      .map((line) => line.replace(/^(\d+) .*\t/, '$1 ')),
    ['100644 a', '120000 b', '100644 file/x', '100644 large.txt', '100644 link/one', '160000 sub'],
  );
  t.match((await one.git('status', '--porcelain')).text, '', 'nothing is left');
});

t.test('nothing to publish is no error, and without publish nothing is committed', async (t) => {
  const { make, end, pulls, counted } = await openWorkshop(t);
  const one = await make({ repo: 'me/app' });
  const none = await end(one, { pull_request: {} });
  t.match(none, { branch: null, pull_request_url: null, problem: undefined });
  t.strictSame(none.diff_stat, { files: 0, insertions: 0, deletions: 0 });
  writeFileSync(join(one.directory, 'README.md'), '# changed\n');
  const unpublished = await end(one);
  t.strictSame(unpublished.diff_stat, { files: 1, insertions: 1, deletions: 1 });
  t.equal(unpublished.commit, none.commit);
  t.strictSame(pulls.opened, []);
  t.strictSame(counted, ['fetched', 'nothing']);
});

t.test('a commit of the session that comes between is kept, and published later', async (t) => {
  const { make, end, again, scene } = await openWorkshop(t);
  const one = await make({ repo: 'me/app' });
  writeFileSync(join(one.directory, 'new.txt'), 'x');
  const real = gitIn(process.env.PATH);
  let between = async () => {
    between = async () => {};
    await one.git('commit', '--quiet', '--allow-empty', '-m', 'In the background');
  };
  const git: Git = async (run) => {
    const done = await real(run);
    if (run.arguments[0] === 'commit-tree') await between();
    return done;
  };
  const { problem } = await again({ git }).end(one, {});
  t.match(problem, { code: 'publish_failed', detail: /has committed meanwhile/, retryable: true });
  const { commit } = await end(one, {});
  const log = await scene.git(scene.app.path, 'log', '--format=%s', branch);
  t.match(log.text, /^Changes by berth\nIn the background\n/);
  t.equal(scene.app.head(branch), commit);
});

t.test('an edit in the second of `git add`, of the same size, is committed', async (t) => {
  const { make, end, scene } = await openWorkshop(t);
  const one = await make({ repo: 'me/app' });
  const path = join(one.directory, 'README.md');
  const index = join(one.directory, '.git/index');
  const second = (time: number): number => Math.floor(time / 1_000);
  // All within one second of the clock, and the commit of berth after that second.
  await until('the edit has the time of the index', async () => {
    writeFileSync(path, '# one, first\n');
    await one.git('add', '-A');
    writeFileSync(path, '# one, later\n');
    return second(statSync(path).ctimeMs) === second(statSync(index).mtimeMs);
  });
  const edited = second(statSync(path).ctimeMs);
  await until('the second is over', () => second(Date.now()) > edited);
  await end(one, {});
  const { text } = await scene.git(scene.app.path, 'show', `${branch}:README.md`);
  t.equal(text, '# one, later\n');
  t.equal((await one.git('status', '--porcelain')).text, '');
});

t.test('the index that berth gives back keeps the time at which git wrote it', async (t) => {
  const git = gitIn(process.env.PATH);
  let written = 0;
  const noting: Git = async (run) => {
    // No later command writes the index before berth gives it back.
    if (run.arguments[0] === 'commit-tree') {
      written = statSync(join(run.environment?.GIT_DIR ?? '', 'index')).mtimeMs;
    }
    return git(run);
  };
  const { make, end } = await openWorkshop(t, { git: noting });
  const one = await make({ repo: 'me/app' });
  writeFileSync(join(one.directory, 'README.md'), '# two\n');
  await end(one, {});
  const { mtimeMs } = statSync(join(one.directory, '.git/index'));
  t.ok(written > 0 && mtimeMs <= written, `${mtimeMs} is not after ${written}`);
});
