/** The CLI that init puts on the volume from a tarball. */

import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { idOf, installedPlace } from '../../../../shared/installed-cli.ts';
import { openHarbour } from '../../../init/fixture.ts';
import {
  cliTarball,
  type Entry,
  integrityOf,
  settingsFor,
  startTarballServer,
  tarball,
} from '../../../support/cli-tarball.ts';
import { cannotMount, mountSmall } from '../../../support/small-volume.ts';

t.jobs = 4;

const [one, two, three] = ['2.1.321', '2.1.322', '2.1.323'].map((version) =>
  cliTarball(version),
) as [Buffer, Buffer, Buffer];

async function prepare(t: Test) {
  const harbour = await openHarbour(t);
  const server = await startTarballServer(t);
  const state = join(harbour.volume, '.berth');
  for (const [path, content] of Object.entries({ '/1.tgz': one, '/2.tgz': two, '/3.tgz': three })) {
    server.files.set(path, content);
  }
  const wants = (content: Buffer, path: string) => settingsFor(server.url + path, content);
  return {
    harbour,
    server,
    state,
    wants,
    first: wants(one, '/1.tgz'),
    second: wants(two, '/2.tgz'),
    place: (content: Buffer) => installedPlace(state, idOf(integrityOf(content))),
    record: () => JSON.parse(readFileSync(join(state, 'cli.json'), 'utf8')),
    installed: () => readdirSync(join(state, 'claude')).sort(),
  };
}

const idsOf = (...contents: Buffer[]) => contents.map((each) => idOf(integrityOf(each))).sort();

t.test(
  'the CLI is downloaded, verified and unpacked, and the next run downloads nothing',
  async (t) => {
    const { harbour, server, first, place, record, installed } = await prepare(t);
    t.match(await harbour.run(first), { cli: 'installed' });
    const { binary } = place(one);
    t.match(readFileSync(binary, 'utf8'), /2\.1\.321/);
    t.equal(lstatSync(binary).mode & 0o777, 0o755);
    t.strictSame(
      readdirSync(place(one).directory).sort(),
      ['claude', 'claude.tgz'],
      'nothing else',
    );
    t.same(record(), { version: 1, current: idOf(integrityOf(one)) });
    t.match(harbour.events('cli_installed'), [{ level: 'info', bytes: one.length }]);
    const { ino } = lstatSync(binary);
    t.match(await harbour.run(first), { cli: 'present' });
    t.equal(lstatSync(binary).ino, ino);
    t.equal(server.requests.length, 1);
    t.strictSame(installed(), idsOf(one));
  },
);

t.test(
  'the version before is kept, an older one goes, and a rollback needs no network',
  async (t) => {
    const { harbour, server, wants, first, second, record, installed } = await prepare(t);
    for (const wanted of [first, second, wants(three, '/3.tgz')]) await harbour.run(wanted);
    t.strictSame(installed(), idsOf(two, three));
    t.match(record(), { current: idsOf(three)[0], previous: idsOf(two)[0] });
    server.close();
    t.match(await harbour.run(second), { cli: 'present' });
    t.match(record(), { current: idsOf(two)[0], previous: idsOf(three)[0] });
  },
);

t.test(
  'of two earlier CLI versions, init keeps the version that passed its self-test',
  async (t) => {
    const { harbour, state, wants, first, second, installed, record } = await prepare(t);
    await harbour.run(first);
    await harbour.run(second);
    const tested = { version: 1, ids: idsOf(one) };
    writeFileSync(join(state, 'cli-tested.json'), JSON.stringify(tested));
    await harbour.run(wants(three, '/3.tgz'));
    t.match(record(), { current: idsOf(three)[0], previous: idsOf(one)[0] });
    t.strictSame(installed(), idsOf(one, three));
  },
);

t.test('where it is not wanted any more it goes', async (t) => {
  const { harbour, state, first } = await prepare(t);
  await harbour.run(first);
  t.equal((await harbour.run()).cli, undefined);
  t.notOk(existsSync(join(state, 'claude')) || existsSync(join(state, 'cli.json')));
  t.equal(harbour.events('cli_removed').length, 1);
  await harbour.run();
  t.equal(harbour.events('cli_removed').length, 1, 'told once');
});

t.test(
  'another content than the wanted is refused, and the one before stays as it is',
  async (t) => {
    const { harbour, server, wants, first, record, installed } = await prepare(t);
    await harbour.run(first);
    const before = record();
    const wrong = { ...wants(two, '/2.tgz'), BERTH_CLAUDE_INTEGRITY: integrityOf(three) };
    await t.rejects(harbour.run(wrong), {
      code: 'cli_refused',
      exitCode: 77,
      message:
        /2\.tgz: it has \d+ bytes and the integrity sha512-.*, not the expected one; set BERTH_/,
    });
    t.same(record(), before);
    t.strictSame(installed(), idsOf(one), 'nothing of the other is left');
    t.equal(server.requests.length, 2, 'and it is not asked again');
  },
);

t.test('a planted or damaged CLI on the volume is replaced without the network', async (t) => {
  const { harbour, server, first, place } = await prepare(t);
  await harbour.run(first);
  server.close();
  const { binary } = place(one);
  const good = readFileSync(binary);
  const changes: Record<string, () => void> = {
    'another byte': () =>
      writeFileSync(binary, Buffer.concat([good.subarray(0, -1), Buffer.from('x')])),
    'more at its end': () => writeFileSync(binary, Buffer.concat([good, Buffer.from('evil')])),
    'less of it': () => writeFileSync(binary, good.subarray(0, 100)),
    'not there': () => rmSync(binary),
    'a symlink': () => {
      rmSync(binary);
      symlinkSync('/bin/sh', binary);
    },
    'a directory': () => {
      rmSync(binary);
      mkdirSync(binary);
    },
  };
  for (const [name, change] of Object.entries(changes)) {
    change();
    t.match(await harbour.run(first), { cli: 'installed' }, name);
    t.ok(readFileSync(binary).equals(good) && lstatSync(binary).isFile(), name);
  }
  t.equal(harbour.events('cli_damaged').length, Object.keys(changes).length);
  chmodSync(binary, 0o600);
  t.match(await harbour.run(first), { cli: 'present' });
  t.equal(lstatSync(binary).mode & 0o777, 0o755);
});

t.test(
  'a binary and a tarball that agree with each other, but not with the setting, count nothing',
  async (t) => {
    const { harbour, server, first, place } = await prepare(t);
    await harbour.run(first);
    const evil = cliTarball('6.6.6');
    writeFileSync(place(one).tarball, evil);
    writeFileSync(place(one).binary, '#!/bin/sh\necho 6.6.6\n');
    await harbour.run(first);
    t.match(readFileSync(place(one).binary, 'utf8'), /2\.1\.321/);
    t.equal(server.requests.length, 2);
  },
);

t.test('symlinks in the places of its directories are not followed', async (t) => {
  const { harbour, first, state, place } = await prepare(t);
  await harbour.run(first);
  const elsewhere = join(harbour.directory, 'elsewhere');
  mkdirSync(join(elsewhere, 'kept'), { recursive: true });
  rmSync(place(one).directory, { recursive: true });
  symlinkSync(elsewhere, place(one).directory);
  await harbour.run(first);
  t.ok(lstatSync(place(one).directory).isDirectory());
  rmSync(join(state, 'claude'), { recursive: true });
  symlinkSync(elsewhere, join(state, 'claude'));
  await harbour.run(first);
  t.ok(lstatSync(join(state, 'claude')).isDirectory());
  t.strictSame(readdirSync(elsewhere), ['kept']);
});

t.test(
  'without the network the version before is used, at error level; without one it ends',
  async (t) => {
    const { harbour, server, second, first, record } = await prepare(t);
    server.answers.set('/1.tgz', { status: 404 });
    await t.rejects(harbour.run(first), {
      code: 'cli_undelivered',
      exitCode: 69,
      message:
        /^cannot download .*1\.tgz: the file does not exist \(404\); check BERTH_CLAUDE_TARBALL/,
    });
    server.answers.clear();
    await harbour.run(first);
    server.close();
    t.match(await harbour.run(second), { cli: 'previous' });
    t.match(harbour.events('cli_not_installed'), [
      { level: 'error', msg: /2\.tgz: nothing listens/ },
    ]);
    t.match(record(), { current: idsOf(one)[0] });
  },
);

t.test('a damaged CLI that cannot be downloaded again is not used', async (t) => {
  const { harbour, server, first, second, place, record } = await prepare(t);
  await harbour.run(first);
  await harbour.run(second);
  server.close();
  rmSync(place(two).tarball);
  writeFileSync(place(two).binary, '#!/bin/sh\necho evil\n');
  t.match(await harbour.run(second), { cli: 'previous' });
  t.same(record(), { version: 1, current: idsOf(one)[0] });
  rmSync(place(one).directory, { recursive: true });
  await t.rejects(harbour.run(second), { code: 'cli_undelivered' });
});

t.test('a download that breaks off is begun anew', async (t) => {
  const { harbour, server, first } = await prepare(t);
  server.broken = 1;
  t.match(await harbour.run(first), { cli: 'installed' });
  t.equal(server.requests.length, 2);
});

t.test('redirects are followed, and the login stays with its host', async (t) => {
  const { harbour, server, first, wants } = await prepare(t);
  const other = await startTarballServer(t);
  other.files.set('/cdn', one);
  server.answers.set('/moved', { status: 302, location: `${other.url}/cdn` });
  const url = `${server.url.replace('//', '//me:secret-password@')}/moved`;
  t.match(await harbour.run({ ...first, BERTH_CLAUDE_TARBALL: url }), { cli: 'installed' });
  const basic = `Basic ${Buffer.from('me:secret-password').toString('base64')}`;
  t.equal(server.requests[0]?.headers.authorization, basic);
  t.equal(other.requests[0]?.headers.authorization, undefined);
  t.notMatch(JSON.stringify(harbour.lines), /secret-password/);
  server.answers.set('/round', { status: 302, location: '/round' });
  await t.rejects(harbour.run(wants(two, '/round')), {
    code: 'cli_refused',
    message: /redirects too often/,
  });
  server.answers.set('/file', { status: 302, location: 'file:///etc/passwd' });
  await t.rejects(harbour.run(wants(two, '/file')), { code: 'cli_refused', message: /not safe/ });
});

t.test('nothing but the one file is taken from a hostile tarball', async (t) => {
  const { harbour, server, wants, state, place } = await prepare(t);
  const script = { path: 'package/claude', content: '#!/bin/sh\n' };
  const hostile = tarball([
    { path: '../../../escaped', content: 'x' },
    { path: '/tmp/berth-escaped', content: 'x' },
    { path: 'package/link', type: 'SymbolicLink', linkpath: '/etc' },
    { path: 'package/link/passwd', content: 'x' },
    { path: 'package/device', type: 'CharacterDevice' },
    script,
    { path: 'package/claude/below', content: 'x' },
  ]);
  server.files.set('/hostile', hostile);
  t.match(await harbour.run(wants(hostile, '/hostile')), { cli: 'installed' });
  t.strictSame(readdirSync(place(hostile).directory).sort(), ['claude', 'claude.tgz']);
  t.notOk(existsSync(join(state, 'claude/escaped')) || existsSync('/tmp/berth-escaped'));
  const refusals: [RegExp, Buffer][] = [
    [/has no file package\/claude/, tarball([{ path: 'claude', content: 'x' }])],
    [/is not a file but a SymbolicLink/, tarball([{ ...link('/bin/sh') }])],
    [/twice/, tarball([script, script])],
    [/larger than 2Gi/, tarball([{ ...script, content: '', size: 3 * 1024 ** 3 }])],
    [/decompression ratio/, tarball([{ ...script, content: Buffer.alloc(20_000_000) }])],
    [
      /Truncated|TAR_BAD_ARCHIVE/i,
      tarball([{ ...script, content: '', size: 4_096 }], Buffer.alloc(0)),
    ],
    [
      /more than 10000 entries/,
      tarball(Array.from({ length: 10_001 }, () => ({ path: 'package/x' }))),
    ],
    [/TAR|tar|archive/, Buffer.from('<html>a page</html>')],
  ];
  for (const [message, content] of refusals) {
    server.files.set('/bad', content);
    await t.rejects(harbour.run(wants(content, '/bad')), { code: 'cli_refused', message });
    t.strictSame(readdirSync(join(state, 'claude')), idsOf(hostile));
  }
});

function link(linkpath: string): Entry {
  return { path: 'package/claude', type: 'SymbolicLink', linkpath };
}

const skip = cannotMount;

t.test(
  'on a full disk the version before is used, and nothing half is left',
  { skip },
  async (t) => {
    const { harbour, server, first, wants, installed } = await prepare(t);
    using volume = mountSmall(harbour.volume, 'size=4m');
    await harbour.run(first);
    const large = tarball([{ path: 'package/claude', content: randomBytes(3_000_000) }]);
    server.files.set('/large', large);
    t.match(await harbour.run(wants(large, '/large')), { cli: 'previous' });
    const msg = /cannot write .*ENOSPC.*enlarge the volume/;
    t.match(harbour.events('cli_not_installed'), [{ level: 'error', msg }]);
    t.strictSame(installed(), idsOf(one));
    volume.mount('remount,size=16m');
    t.match(await harbour.run(wants(large, '/large')), { cli: 'installed' });
  },
);

t.test('the leftovers of a killed run are removed', async (t) => {
  const { harbour, state, first, installed } = await prepare(t);
  mkdirSync(join(state, 'claude', '.new-0'), { recursive: true });
  mkdirSync(join(state, 'claude', `.new-${idsOf(one)[0]}`));
  writeFileSync(join(state, 'claude', `.new-${idsOf(one)[0]}`, 'claude.tgz'), 'half');
  await harbour.run(first);
  t.strictSame(installed(), idsOf(one));
});

t.test('one of the two settings is not enough, and both are checked', async (t) => {
  const { harbour, first } = await prepare(t);
  const message = (settings: Record<string, string>) => {
    try {
      harbour.config(settings);
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  const { BERTH_CLAUDE_TARBALL = '', BERTH_CLAUDE_INTEGRITY = '' } = first;
  t.match(message({ BERTH_CLAUDE_TARBALL }), /BERTH_CLAUDE_INTEGRITY is not set, but/);
  t.match(message({ BERTH_CLAUDE_INTEGRITY }), /BERTH_CLAUDE_TARBALL is not set, but/);
  t.match(
    message({ ...first, BERTH_CLAUDE_INTEGRITY: 'sha1-abc' }),
    /1 setting is wrong.*sha512-/s,
  );
  t.match(message({ ...first, BERTH_CLAUDE_TARBALL: 'ftp://x' }), /1 setting is wrong.*https/s);
  t.equal(message({ ...first, BERTH_CLAUDE_TARBALL: 'https://a%:b%zz@host/x.tgz' }), '');
});
