import { existsSync, mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BerthError } from '../../../../shared/errors.ts';
import { type Git, gitIn } from '../../../../supervisor/claude/git.ts';
import { branch, openWorkshop } from '../../../supervisor/workspaces/fixture.ts';

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
  const touch = `touch '${planted}'; false`;
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
