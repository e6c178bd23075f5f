import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { gitIn } from '../../../supervisor/claude/git.ts';
import { SpareTrees } from '../../../supervisor/workspaces/spare-trees.ts';
import { captureLog } from '../../support/captured-log.ts';
import { until } from '../../support/until.ts';
import { type Made, openWorkshop } from './fixture.ts';

/** A workshop that keeps files ready, with a session that has begun, and the directories of the spare trees. */
async function open(t: Test, { most = 2, hasRoom = (): boolean => true } = {}) {
  const git = gitIn(process.env.PATH);
  const { log } = captureLog();
  const trees = new SpareTrees({ git, most, hasRoom, log });
  const workshop = await openWorkshop(t, { trees });
  t.teardown(async () => {
    await trees.stop();
    // Waits for the work on the mirror that nobody waits for any more.
    await workshop.mirrors.discard('me/app', 'the test is over');
  });
  const staging = join(workshop.root, 'staging');
  const kept = () => readdirSync(staging).filter((name) => name.endsWith('.tree'));
  const isReady = () => trees.count === 1 && kept().length === 1;
  const ready = () => until('the files are ready', isReady);
  const path = (name: string) => join(staging, kept()[0] ?? '', name);
  return { ...workshop, trees, kept, ready, path };
}

const status = async ({ git }: Made) =>
  (await git('status', '--porcelain', '--ignored', '--untracked-files=all')).text;

t.test('a second session of a repository gets files that are there already', async (t) => {
  const { make, scene, ready, path } = await open(t);
  scene.app.commit({ 'src/a.ts': 'a\n', 'src/b.ts': 'b\n' });
  await make({ repo: 'me/app' });
  await ready();
  const { ino } = statSync(path('src/a.ts'));
  const two = await make({ repo: 'me/app' });
  t.equal(statSync(join(two.directory, 'src/a.ts')).ino, ino, 'no file was written');
  t.equal(await status(two), '');
  t.equal((await two.git('fsck', '--full')).code, 0);
  await ready();
  const three = await make({ repo: 'me/app' });
  t.not(statSync(join(three.directory, 'src/a.ts')).ino, ino, 'each session has its own');
});

t.test(
  'files that are there already become those of the commit that the session begins with',
  async (t) => {
    const { make, scene, ready } = await open(t);
    scene.app.commit({ 'src/a.ts': 'a\n', 'src/b.ts': 'b\n', kind: 'a file\n' });
    await make({ repo: 'me/app' });
    await ready();
    scene.app.commit({ 'src/a.ts': 'new\n', 'src/b.ts': null, kind: null });
    const head = scene.app.commit({ 'src/c.ts': 'c\n', 'kind/x': 'a folder\n' });
    const two = await make({ repo: 'me/app' });
    t.equal(two.state.commit, head);
    t.equal(readFileSync(join(two.directory, 'src/a.ts'), 'utf8'), 'new\n');
    t.strictSame(readdirSync(join(two.directory, 'src')), ['a.ts', 'c.ts']);
    t.equal(await status(two), '');
  },
);

t.test('files are written anew where the commit says otherwise how to write them', async (t) => {
  const { make, scene, ready } = await open(t);
  scene.app.commit({ 'src/a.txt': 'a\n' });
  await make({ repo: 'me/app' });
  await ready();
  scene.app.commit({ 'src/.gitattributes': '*.txt text eol=crlf\n' });
  const two = await make({ repo: 'me/app' });
  t.equal(readFileSync(join(two.directory, 'src/a.txt'), 'utf8'), 'a\r\n');
  t.equal(await status(two), '');
});

t.test('a directory that is gone leaves no files behind', async (t) => {
  const { make, prepare, root, ready } = await open(t);
  await make({ repo: 'me/app' });
  await ready();
  const prepared = await prepare({ repo: 'me/app' });
  await t.rejects(prepared.fill(join(root, 'sessions/gone')), { code: 'volume_unwritable' });
  await prepared.discard();
  await until('nothing is left', () => readdirSync(join(root, 'staging')).length === 0);
});

const changes: Record<string, (path: (name: string) => string) => void> = {
  'a changed file': (path) => writeFileSync(path('src/a.ts'), 'b\n'),
  'a file of its own': (path) => writeFileSync(path('src/planted.ts'), 'evil()\n'),
  'an attached file': (path) => {
    mkdirSync(path('attachments'));
    writeFileSync(path('attachments/planted'), 'x');
  },
  'an ignored file': (path) => writeFileSync(path('planted.log'), 'x\n'),
  'an absent file': (path) => rmSync(path('src/a.ts')),
  'another index': (path) => writeFileSync(path('.git/index'), readFileSync(path('.git/HEAD'))),
  'no index': (path) => rmSync(path('.git/index')),
  'no files': (path) => rmSync(path(''), { recursive: true }),
};

t.test(
  'a session has the files of its commit, whatever a tool left in the files for it',
  async (t) => {
    const { make, scene, ready, path } = await open(t);
    scene.app.commit({ 'src/a.ts': 'a\n', '.gitignore': '*.log\n' });
    await make({ repo: 'me/app' });
    for (const [what, change] of Object.entries(changes)) {
      await t.test(what, async (t) => {
        await ready();
        change(path);
        const next = await make({ repo: 'me/app' });
        t.equal(readFileSync(join(next.directory, 'src/a.ts'), 'utf8'), 'a\n');
        t.equal(await status(next), '');
      });
    }
  },
);

t.test('files are kept for so many repositories and folders, and the oldest go', async (t) => {
  const { make, scene, ready, kept } = await open(t, { most: 1 });
  scene.app.commit({ 'src/a.ts': 'a\n', 'docs/b.md': 'b\n' });
  await make({ repo: 'me/app' });
  await ready();
  const [first] = kept();
  await make({ repo: 'me/app', path: 'docs' });
  await until('the older ones are gone', () => kept().length === 1 && kept()[0] !== first);
  const whole = await make({ repo: 'me/app' });
  t.equal(readFileSync(join(whole.directory, 'src/a.ts'), 'utf8'), 'a\n');
});

t.test('files that were kept ready go when the disk is low', async (t) => {
  let room = true;
  const { make, scene, ready, kept, checkouts } = await open(t, { hasRoom: () => room });
  scene.app.commit({ 'docs/b.md': 'b\n' });
  await make({ repo: 'me/app' });
  await ready();
  await checkouts.makeRoom();
  t.strictSame(kept(), []);
  await make({ repo: 'me/app' });
  await ready();
  room = false;
  await make({ repo: 'me/app', path: 'docs' });
  await until('they are gone', () => kept().length === 0);
});

t.test('no files are kept ready without room on the disk, or without a number', async (t) => {
  for (const options of [{ hasRoom: () => false }, { most: 0 }]) {
    const { make, trees, root } = await open(t, options);
    const work: Promise<void>[] = [];
    const prepare = trees.prepare.bind(trees);
    trees.prepare = (...given) => {
      const each = prepare(...given);
      work.push(each);
      return each;
    };
    await make({ repo: 'me/app' });
    t.equal(work.length, 1);
    await Promise.all(work);
    t.strictSame(readdirSync(join(root, 'staging')), []);
  }
});
