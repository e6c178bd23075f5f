import { existsSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BerthError } from '../../../shared/errors.ts';
import { type Git, gitIn } from '../../../supervisor/claude/git.ts';
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

t.test('a full disk and a time-out of git are worth another attempt', async (t) => {
  const { make, again, root } = await openWorkshop(t);
  const one = await make({ repo: 'me/app' });
  for (const error of [
    Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' }),
    new BerthError('workspace_unavailable', 'cannot run git push: it did not end'),
  ]) {
    const { end } = again({ git: () => Promise.reject(error) });
    t.match((await end(one, {})).problem, {
      code: 'publish_failed',
      detail: error.message,
      retryable: true,
    });
  }
  const slow = gitIn(process.env.PATH)({
    arguments: ['-c', 'alias.wait=!sleep 60', 'wait'],
    ...{ workingDirectory: root, signal: new AbortController().signal, timeout: 50 },
  });
  await t.rejects(slow, { code: 'workspace_unavailable', message: /did not end within/ });
});

t.test('an unfinished merge is refused, and an old lock is removed', async (t) => {
  const { make, end, scene } = await openWorkshop(t);
  const one = await make({ repo: 'me/app' });
  writeFileSync(join(one.directory, 'new.txt'), 'x');
  const mark = join(one.directory, '.git/MERGE_HEAD');
  writeFileSync(mark, `${one.state.commit}\n`);
  t.match((await end(one, {})).problem, { code: 'publish_refused', detail: /MERGE_HEAD/ });
  rmSync(mark);
  const lock = join(one.directory, '.git/refs/heads/main.lock');
  writeFileSync(lock, '');
  t.match((await end(one, {})).problem, { code: 'publish_refused', detail: /cannot be written/ });
  const longAgo = Date.now() / 1_000 - 61;
  utimesSync(lock, longAgo, longAgo);
  const { problem, commit } = await end(one, {});
  t.equal(problem, undefined);
  t.equal(scene.app.head(branch), commit);
  t.notOk(existsSync(lock));
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

t.test('a branch whose name is not plain ASCII is published', async (t) => {
  const { make, end, scene } = await openWorkshop(t);
  const one = await make({ repo: 'me/app' });
  await one.git('switch', '--quiet', '-c', 'größe/"1"');
  writeFileSync(join(one.directory, 'new.txt'), 'x');
  const { problem, commit } = await end(one, {});
  t.equal(problem, undefined);
  t.equal(scene.app.head(branch), commit);
  t.equal((await one.git('rev-parse', 'HEAD')).text.trim(), commit);
  await one.git('pack-refs', '--all');
  t.match(await end(one, {}), { problem: undefined, commit });
});

t.test('what follows the turns of one checkout is done once at a time', async (t) => {
  const { make, again } = await openWorkshop(t);
  const one = await make({ repo: 'me/app' });
  const real = gitIn(process.env.PATH);
  const seen: AbortSignal[] = [];
  const git: Git = (run) => {
    // Each end has a signal of its own.
    if (run.signal !== seen.at(-1)) seen.push(run.signal);
    return real(run);
  };
  const workshop = again({ git });
  writeFileSync(join(one.directory, 'new.txt'), 'x');
  const end = () => workshop.end({ ...one }, {});
  const first = end();
  const second = end();
  await first;
  const outcomes = await Promise.all([first, second, end()]);
  for (const { problem } of outcomes) t.equal(problem, undefined);
  t.equal(seen.length, 3);
  t.equal(new Set(seen).size, 3);
});

t.test('nothing that a session plants in its repository is run', async (t) => {
  const { make, end, scene, root } = await openWorkshop(t);
  const one = await make({ repo: 'me/app' });
  const planted = join(root, 'planted');
  const touch = `touch ${planted}; false`;
  const own = join(one.directory, '.git');
  mkdirSync(join(own, 'hooks'));
  for (const hook of ['pre-commit', 'pre-push', 'reference-transaction', 'post-index-change']) {
    writeFileSync(join(own, 'hooks', hook), `#!/bin/sh\n${touch}\n`, { mode: 0o755 });
  }
  for (const [key, value] of [
    ['core.fsmonitor', touch],
    ['core.hooksPath', join(own, 'hooks')],
    ['core.sshCommand', touch],
    ['filter.evil.clean', touch],
    ['filter.evil.smudge', touch],
    ['filter.evil.required', 'true'],
    ['diff.external', touch],
    ['diff.evil.textconv', touch],
    ['gpg.program', planted],
    ['commit.gpgSign', 'true'],
    ['credential.helper', `!${touch}`],
    ['url.ext::sh -c touch% .insteadOf', 'http://'],
    ['core.worktree', '/'],
  ]) {
    await one.git('config', key as string, value as string);
  }
  writeFileSync(join(one.directory, '.gitattributes'), '* filter=evil diff=evil\n');
  // A repository inside the repository, whose monitor `git status` would run.
  const inner = join(one.directory, 'inner');
  mkdirSync(inner);
  const nested = (...args: string[]) => scene.git(inner, ...args);
  await nested('init', '--quiet');
  await nested('commit', '--quiet', '--allow-empty', '-m', 'x');
  await nested('config', 'core.fsmonitor', touch);
  writeFileSync(join(inner, 'file'), 'x');
  const outcome = await end(one, {});
  t.equal(outcome.problem, undefined);
  const tree = await scene.git(scene.app.path, 'ls-tree', '--name-only', '-r', branch);
  t.equal(tree.text, '.gitattributes\nREADME.md\nlarge.txt\n');
  t.notOk(existsSync(planted));
});
