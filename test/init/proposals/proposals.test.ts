import { existsSync, linkSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { branch, openProposals } from './fixture.ts';

const memory = 'projects/-home-node-workspace/memory/MEMORY.md';
const mapped = 'memory/-home-node-workspace/MEMORY.md';
const text = 'one\n\ntwo\n\nthree\n';
const files = { 'CLAUDE.md': text, 'skills/a/SKILL.md': text, 'settings.json': '{}\n' };

t.test('changed files become one pull request, which berth updates until its end', async (t) => {
  const scene = await openProposals(t, files);
  const before = scene.api.requests.length;
  t.equal(await scene.pass(), 'none');
  t.equal(scene.api.requests.length, before, 'without a change no request is sent');

  scene.write('CLAUDE.md', 'mine\n');
  scene.write(memory, 'Use tabs.\n');
  scene.write('agent-memory/reviewer/MEMORY.md', 'Be kind.\n');
  scene.write('notes/other.md', 'not listed\n');
  scene.write('projects/-home-node-workspace/a.jsonl', '{}\n');
  t.equal(await scene.pass(), 'opened');
  t.equal(await scene.proposed('CLAUDE.md'), 'mine\n');
  t.equal(await scene.proposed(mapped), 'Use tabs.\n');
  t.equal(await scene.proposed('agent-memory/reviewer/MEMORY.md'), 'Be kind.\n');
  t.equal(await scene.proposed('skills/a/SKILL.md'), text);
  t.equal(await scene.proposed('notes/other.md'), undefined);
  t.match(scene.opened, [{ head: branch, base: 'main', state: 'open' }]);
  t.match(scene.opened[0]?.body, /`memory\/-home-node-workspace\/MEMORY\.md` \| new \| 20/);
  t.equal(await scene.pass(), 'unchanged');
  scene.write(memory, 'Use spaces.\n');
  t.equal(await scene.pass(), 'updated', 'the pull request follows');
  t.equal(await scene.proposed(mapped), 'Use spaces.\n');
  t.equal(scene.opened.length, 1);

  scene.end({
    'CLAUDE.md': 'mine\n',
    'agent-memory/reviewer/MEMORY.md': 'Be kind.\n',
    [mapped]: 'Use spaces.\n',
  });
  t.equal(await scene.pass(), 'none', 'before the sync');
  t.match(await scene.run(), { written: 0, removed: 0, kept: 0, conflicts: 0 });
  t.notOk(existsSync(join(scene.volume, 'memory')));
  t.equal(await scene.pass(), 'none', 'the volume is equal');
  t.match(scene.events('proposal_ended'), [{ number: 1, merged: true }]);
});

t.test('an edit that goes on while its beginning is merged stays on the volume', async (t) => {
  const scene = await openProposals(t, files);
  scene.write('CLAUDE.md', 'first\n');
  scene.write(memory, 'first\n');
  await scene.pass();
  scene.end({ 'CLAUDE.md': 'first\n', [mapped]: 'first\n' });
  scene.write('CLAUDE.md', 'second\n');
  scene.write(memory, 'second\n');
  t.match(await scene.run(), { kept: 2, conflicts: 0 });
  t.equal(scene.read('CLAUDE.md'), 'second\n');
  t.equal(scene.read(memory), 'second\n');
  t.equal(await scene.pass(), 'opened');
  t.equal(await scene.proposed('CLAUDE.md'), 'second\n');

  scene.end();
  t.equal(await scene.pass(), 'none', 'what was declined is not proposed again');
  rmSync(join(scene.volume, '.berth/proposals.json'));
  t.equal(await scene.pass(scene.again()), 'none', 'also without the record');
  scene.write('CLAUDE.md', 'third\n');
  t.equal(await scene.pass(), 'opened', 'another content is proposed');
  scene.write('CLAUDE.md', 'first\n');
  t.equal(await scene.pass(), 'withdrawn', 'an edit that is taken back is withdrawn');
  scene.write('CLAUDE.md', 'third\n');
  t.equal(await scene.pass(), 'opened', 'the own end is no refusal');
  scene.write('CLAUDE.md', 'first\n');
  scene.restrict('read', 'write');
  await t.rejects(scene.pass(), { message: /cannot delete the branch/ });
  scene.restrict('write', 'write');
  t.equal(await scene.pass(scene.again()), 'withdrawn', 'a withdrawal that failed goes on');
  t.equal(scene.opened.at(-1)?.state, 'closed');
  t.equal(await scene.pass(), 'none');
  t.equal(scene.opened.length, 4);
});

t.test('executable configuration is proposed from its saved copy, never in effect', async (t) => {
  const scene = await openProposals(t, { ...files, 'skills/b/SKILL.md': text });
  const saved = '.berth/conflicts/20261129T120000Z-serve-0a1b2c';
  scene.write('skills/a/SKILL.md', text.replace('three', 'my three'));
  scene.write('skills/b/SKILL.md', text.replace('three', 'my three'));
  scene.write(`${saved}/1/skills/new/SKILL.md`, 'new\n');
  scene.write('commands/there.md', 'new\n');
  scene.write(`${saved}/2/hooks/evil.sh`, 'echo\n');
  scene.write(`${saved}/3/notes/a.md`, 'not executable configuration\n');
  await scene.run();
  t.equal(await scene.pass(), 'opened');
  t.equal(scene.read('skills/a/SKILL.md'), text);
  t.notOk(existsSync(join(scene.volume, 'skills/new')));
  t.equal(await scene.proposed('skills/a/SKILL.md'), text.replace('three', 'my three'));
  t.equal(await scene.proposed('skills/new/SKILL.md'), 'new\n');
  t.equal(await scene.proposed('commands/there.md'), 'new\n');
  t.notOk(existsSync(join(scene.volume, 'commands')), 'also what was there before a start');
  t.equal(await scene.proposed('hooks/evil.sh'), undefined);
  t.match(
    scene.opened[0]?.body,
    /skills\/new\/SKILL\.md` \| new; executable configuration, in effect only/,
  );

  const one = text.replace('one', 'their one');
  scene.repository.commit({
    'skills/a/SKILL.md': one,
    'skills/b/SKILL.md': text.replace('three', 'their three'),
  });
  await scene.run();
  t.equal(await scene.pass(), 'updated', 'a copy is merged with what upstream changed since');
  t.equal(await scene.proposed('skills/a/SKILL.md'), one.replace('three', 'my three'));
  t.equal(await scene.proposed('skills/b/SKILL.md'), text.replace('three', 'their three'));
  t.match(scene.opened[0]?.body, /- `skills\/b\/SKILL\.md`: upstream changed the same lines/);

  scene.end({ 'skills/a/SKILL.md': 'merged\n', 'skills/new/SKILL.md': 'new\n' });
  await scene.pass();
  await scene.run();
  t.equal(scene.read('skills/new/SKILL.md'), 'new\n', 'merged, it is upstream’s');
  t.equal(await scene.pass(), 'none', 'old copies do not come back');
});

t.test('secrets, logins, transcripts, binaries and links stay on the volume', async (t) => {
  const secret = `ghp_${'a1B2c3D4e5'.repeat(4)}`;
  const upstream = { ...files, 'known.md': `${secret}\n`, 'key.pem': 'x\n', 'a.bin': 'x\n' };
  const settings = { BERTH_PROPOSE_PATHS: 'skills/,memory/,extra/' };
  const scene = await openProposals(t, upstream, { settings });
  const login = JSON.stringify({ claudeAiOauth: { accessToken: 'not-the-shape-of-a-token-0' } });
  scene.write('.credentials.json', login);
  linkSync(join(scene.volume, '.credentials.json'), join(scene.volume, 'skills/a/linked.md'));
  symlinkSync('../../.credentials.json', join(scene.volume, 'skills/a/symlink.md'));
  mkdirSync(join(scene.directory, 'outside'));
  writeFileSync(join(scene.directory, 'outside/x.md'), 'outside');
  symlinkSync(join(scene.directory, 'outside'), join(scene.volume, 'extra'));
  scene.write('skills/a/copy.md', 'not-the-shape-of-a-token-0\n');
  scene.write('skills/a/.env', 'A=1\n');
  scene.write('skills/a/session.jsonl', '{}\n');
  scene.write('skills/a/large.md', 'x'.repeat(300 * 1024));
  scene.write('skills/a/picture.png', Buffer.from([0x89, 0, 1]));
  scene.write('skills/a/[link](http:evil).md', 'x\n');
  scene.write('projects/-w/memory/session.jsonl', '{}\n');
  scene.write('key.pem', 'edited\n');
  scene.write('a.bin', Buffer.from([0, 1, 2]));
  scene.write('CLAUDE.md', `${text}token ${secret}\n`);
  scene.write(`skills/a/${secret}.md`, 'x\n');
  scene.write(`skills/a/${secret}.bin`, Buffer.from([0, 1, 2]));
  scene.write('skills/a/not-the-shape-of-a-token-0.bin', Buffer.from([0, 1, 2]));
  t.equal(await scene.pass(), 'none', 'without another change there is no pull request');
  scene.write('known.md', `${secret}\nUse tabs.\n`);
  t.equal(await scene.pass(), 'opened', 'what upstream has already holds back nothing');
  t.equal(await scene.proposed('known.md'), `${secret}\nUse tabs.\n`);
  t.equal(await scene.proposed('CLAUDE.md'), text);
  t.match(scene.opened[0]?.body, /- `CLAUDE\.md`: may have a secret/);
  for (const one of [secret, 'not-the-shape-of-a-token-0']) {
    t.notMatch(JSON.stringify([scene.opened, scene.lines]), one);
  }
  t.match(scene.opened[0]?.body, /- 1 more, without its name: may have a secret/);
  t.match(scene.opened[0]?.body, /- 1 more, without its name: a name that is not plain/);
  const left = scene.events('proposal_left_out').map(({ path, why }) => `${path} ${why}`);
  t.same(left.sort(), [
    ' binary',
    ' binary',
    ' name',
    ' secret',
    'CLAUDE.md secret',
    'a.bin binary',
    'skills/a/copy.md secret',
    'skills/a/large.md too_large',
    'skills/a/picture.png binary',
  ]);
  t.match(await scene.registry.metrics(), 'berth_proposals_left_out{reason="secret"} 3');
});

t.test('a push of a person that comes while berth works is kept', async (t) => {
  const scene = await openProposals(t, files);
  scene.write('CLAUDE.md', 'first\n');
  t.equal(await scene.pass(), 'opened');
  const own = scene.repository.head(branch);
  /** A person pushes when berth has made its next commit, or has read its last one. */
  const pushAt = (wanted: 'GET' | 'POST') => {
    let theirs = '';
    scene.gitData.onCommit = (method) => {
      if (method !== wanted || theirs !== '') return;
      theirs = scene.repository.commit({ 'CLAUDE.md': `${wanted}\n` }, 'Correct', branch);
    };
    return () => theirs;
  };
  const pushed = pushAt('POST');
  scene.write('CLAUDE.md', 'second\n');
  t.equal(await scene.pass(), 'foreign');
  t.equal(scene.repository.head(branch), pushed());
  t.match(scene.events('proposal_held'), [{ commit: pushed() }]);
  writeFileSync(join(scene.repository.path, 'refs/heads', branch), `${own}\n`);
  const again = pushAt('GET');
  scene.write('CLAUDE.md', text);
  t.equal(await scene.pass(), 'withdrawn');
  t.equal(scene.repository.head(branch), again(), 'the branch of the person stays');
});

t.test(
  'an open pull request that the record does not have is followed and withdrawn',
  async (t) => {
    const scene = await openProposals(t, files);
    const recorded = join(scene.volume, '.berth/proposals.json');
    const killed = new AbortController();
    scene.pulls.onOpen = () => killed.abort();
    scene.write('CLAUDE.md', 'first\n');
    await t.rejects(scene.proposer.pass(killed.signal));
    scene.pulls.onOpen = () => undefined;
    t.match(scene.opened, [{ state: 'open' }]);
    scene.write('CLAUDE.md', text);
    t.equal(await scene.pass(scene.again()), 'withdrawn', 'the edit was taken back meanwhile');
    t.equal(scene.opened[0]?.state, 'closed');
    const before = scene.api.requests.length;
    t.equal(await scene.pass(), 'none');
    t.equal(scene.api.requests.length, before, 'then no request is sent');

    scene.write('CLAUDE.md', 'second\n');
    t.equal(await scene.pass(), 'opened');
    rmSync(recorded);
    scene.write('CLAUDE.md', text);
    t.equal(await scene.pass(scene.again()), 'withdrawn', 'also without the record');
    t.equal(scene.opened[1]?.state, 'closed');

    scene.write('CLAUDE.md', 'third\n');
    t.equal(await scene.pass(), 'opened');
    rmSync(recorded);
    scene.repository.commit({ 'CLAUDE.md': 'theirs\n' }, 'Correct', branch);
    scene.write('CLAUDE.md', text);
    t.equal(await scene.pass(scene.again()), 'none', 'the branch of a person stays');
    t.equal(scene.opened[2]?.state, 'open');
  },
);

t.test('upstream, a person and a token that may too little do no harm', async (t) => {
  const scene = await openProposals(t, { ...files, 'rules/a.md': 'one\n' });
  scene.write('CLAUDE.md', text.replace('two', 'my two'));
  scene.write('rules/a.md', 'my rule\n');
  for (const [contents, pulls, lacking] of [
    ['read', 'write', '"Contents: write"'],
    ['write', 'read', '"Pull requests: write"'],
  ] as const) {
    scene.restrict(contents, pulls);
    await t.rejects(scene.pass(), { code: 'remote_refused', message: lacking });
  }
  scene.restrict('write', 'write');
  t.equal(await scene.pass(), 'opened');

  scene.repository.commit({ 'CLAUDE.md': text.replace('two', 'their two') });
  await scene.run();
  t.same(scene.conflicts(), ['CLAUDE.md'], 'upstream changed the same lines: the edit is saved');
  t.equal(await scene.pass(), 'updated');
  t.equal(await scene.proposed('CLAUDE.md'), text.replace('two', 'their two'));
  t.equal(await scene.proposed('rules/a.md'), 'my rule\n');
  t.notMatch(scene.opened[0]?.body, /CLAUDE/);

  const theirs = scene.repository.commit({ 'rules/a.md': 'corrected\n' }, 'Correct', branch);
  scene.write('rules/a.md', 'my rule again\n');
  t.equal(await scene.pass(), 'foreign', 'the commits of a person stay');
  t.equal(await scene.pass(), 'foreign');
  t.equal(scene.repository.head(branch), theirs);
  t.match(scene.events('proposal_held'), [{ commit: theirs }]);
  scene.end({ 'rules/a.md': 'corrected\n' });
  t.equal(await scene.pass(), 'opened', 'the branch is free again');
});
