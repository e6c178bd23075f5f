import t from 'tap';
import { branchOf, branchPatterns, isBranch, matchesAny } from '../../../init/gateway/branches.ts';
import { PacketReader, packet } from '../../../init/gateway/pkt-line.ts';
import { readPushHead, writePushHead, zero } from '../../../init/gateway/push-commands.ts';
import { refusedByName, refusedByServer } from '../../../init/gateway/push-rules.ts';
import { isListed, placeOf, repositoryPatterns } from '../../../init/gateway/repository-pattern.ts';

const [a, b] = ['a'.repeat(40), 'b'.repeat(40)];
const home = 'https://github.com';

async function* streamOf(...parts: (string | Buffer)[]) {
  for (const part of parts) yield Buffer.from(part);
}

const readHead = (...parts: (string | Buffer)[]) =>
  readPushHead(new PacketReader(streamOf(...parts)));

t.test('a repository is listed letter by letter, on the host that its pattern names', async (t) => {
  const patterns = repositoryPatterns.parse(
    'you/*, org/app,git.example.com/team/sub/*,http://git:3000/o/r',
  );
  const listed = (path: string) => {
    const place = placeOf(path, home, patterns);
    return place !== undefined && isListed(place, patterns, home);
  };
  for (const path of [
    'you/x',
    'you/x.git',
    'org/app',
    'git.example.com/team/sub/x',
    'git:3000/o/r',
    'github.com/you/x',
  ]) {
    t.ok(listed(path), path);
  }
  for (const path of [
    'you',
    'you/x/y',
    'You/x',
    'org/App',
    'org/app2',
    'you/..',
    'you/.',
    'evil.com/you/x',
    'git.example.com/you/x',
    'team/sub/x',
    'o/r',
    'you/-x',
    'you/',
  ]) {
    t.notOk(listed(path), path);
  }
  for (const wrong of [
    'you',
    '*/*',
    '*',
    'you/app.git',
    'you/a*',
    'https://a:b@host/o/r',
    'you/x?y',
    'ftp://host/o/r',
    '',
  ]) {
    t.notOk(repositoryPatterns.safeParse(wrong).success, wrong);
  }
});

t.test('a branch has a plain name, and matches a pattern as a whole', async (t) => {
  for (const name of ['berth/fix', 'a', 'berth/a.b-c_d#1', 'x@y']) t.ok(isBranch(name), name);
  for (const name of [
    '',
    '-x',
    '/x',
    'x/',
    'a//b',
    'a..b',
    'a/.b',
    'a.lock',
    'a.lock/b',
    'a b',
    'a~b',
    'a:b',
    'a\\b',
    'ä',
    '@',
    'a@{b',
    'a.',
    'a\u0000b',
    'x'.repeat(201),
  ]) {
    t.notOk(isBranch(name), JSON.stringify(name));
  }
  t.equal(branchOf('refs/heads/berth/x'), 'berth/x');
  for (const ref of ['refs/tags/x', 'HEAD', 'refs/heads/', 'refs/Heads/x', 'x'])
    t.equal(branchOf(ref), undefined);
  const patterns = branchPatterns.parse('berth/*,fix-*-now');
  for (const name of ['berth/x', 'berth/x/y', 'fix-it-now']) t.ok(matchesAny(name, patterns), name);
  for (const name of ['berth', 'xberth/x', 'Berth/x', 'fix-now', 'fix-it-now2'])
    t.notOk(matchesAny(name, patterns), name);
  t.notOk(branchPatterns.safeParse('a..*').success);
});

t.test('the head of a push is read strictly, and written anew for the server', async (t) => {
  const first = packet(
    `${zero} ${a} refs/heads/berth/x\0 report-status side-band-64k agent=git/2 session-id=1`,
  );
  const head = await readHead(packet(`shallow ${b}`), first, '0000');
  t.same(head.commands, [{ old: zero, new: a, ref: 'refs/heads/berth/x' }]);
  t.same(head.capabilities, ['report-status', 'side-band-64k']);
  t.match(
    writePushHead(head).toString('latin1'),
    /report-status side-band-64k agent=berth\/[\d.]+0000$/,
  );
  t.same((await readHead('0000')).commands, []);
  const line = (text: string) => readHead(packet(text), '0000');
  const named = (more: string) => line(`${zero} ${a} refs/heads/berth/x\0${more}`);
  for (const [found, message] of [
    [named('push-options'), /push options are not allowed/],
    [named('object-format=sha256'), /only SHA-1/],
    [named('something-new'), /does not know/],
    [named('quiet\0quiet'), /several lists/],
    [line('push-cert\0quiet'), /signed pushes/],
    [line(`${zero} ${a} refs/heads/a b`), /no command/],
    [line(`${zero} ${a.toUpperCase()} refs/heads/x`), /no command/],
    [line('hello'), /no command/],
    [readHead('00zz'), /no length/],
    [readHead('0003'), /no length/],
    [readHead('0100abc'), /middle of a packet/],
    [readHead(''), /cut short/],
    [
      readHead(
        ...Array.from({ length: 33 }, (_, i) => packet(`${zero} ${a} refs/heads/b${i}`)),
        '0000',
      ),
      /more than 32/,
    ],
  ] as const) {
    await t.rejects(found, { message });
  }
  const late = readHead(
    packet(`${zero} ${a} refs/heads/x`),
    packet(`${zero} ${a} refs/heads/y\0atomic`),
    '0000',
  );
  await t.rejects(late, { message: /several lists/ }, 'a list of capabilities in a later command');
});

t.test('each push command is checked by its ref name and by the refs on the server', async (t) => {
  const rules = { patterns: ['berth/*'], reserved: ['berth/changes'] };
  const reasons = (ref: string, to = a, old = zero) =>
    refusedByName([{ old, new: to, ref: `refs/heads/${ref}` }], rules).get(`refs/heads/${ref}`);
  t.equal(reasons('berth/x'), undefined);
  t.match(reasons('main'), /must match/);
  t.match(reasons('berth/x', zero, a), /may be deleted/);
  t.match(reasons('berth/Changes'), /berth uses this branch/);
  const twice = { old: zero, new: a, ref: 'refs/heads/berth/x' };
  t.equal(refusedByName([twice, twice], rules).size, 1);

  const refs = { defaultBranch: 'main', values: new Map([['refs/heads/berth/x', a]]) };
  const judge = (
    old: string,
    ref: string,
    at = refs as { defaultBranch: string | undefined; values: Map<string, string> },
  ) => refusedByServer([{ old, new: b, ref }], at).get(ref);
  t.equal(judge(a, 'refs/heads/berth/x'), undefined);
  t.match(
    judge(zero, 'refs/heads/berth/x'),
    /changed on the server/,
    'a branch that exists is no new one',
  );
  t.match(judge(b, 'refs/heads/berth/x'), /changed on the server/);
  t.match(judge(a, 'refs/heads/berth/y'), /changed on the server/);
  t.match(judge(zero, 'refs/heads/MAIN'), /default branch/);
  t.match(
    judge(zero, 'refs/heads/berth/y', { defaultBranch: undefined, values: new Map() }),
    /first commit/,
  );
});
