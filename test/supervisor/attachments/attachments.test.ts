import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { type Attachment, attachmentOf } from '../../../supervisor/attachments/attachment.ts';
import { KeptAttachments } from '../../../supervisor/attachments/kept.ts';
import { checkLimits, newestWithin } from '../../../supervisor/attachments/limits.ts';
import { safeName, uniqueName } from '../../../supervisor/attachments/names.ts';
import { placeAttachments } from '../../../supervisor/attachments/place.ts';
import { testDirectory } from '../../support/directory.ts';
import { cannotMount } from '../../support/small-volume.ts';
import { mountUnread } from '../../support/unread-disk.ts';
import { root, withoutDescriptors } from '../../support/without-descriptors.ts';
import { testAttachmentStore } from './store-contract.ts';

const png = Buffer.from('89504e470d0a1a0a0000000d', 'hex');
const pdf = Buffer.from('%PDF-1.4\n%%EOF');
const file = (name: string, content = 'a,b', mediaType?: string) =>
  attachmentOf({ name, mediaType, data: Buffer.from(content) }, 'attachments.0');

const placeIn = (path: string) => ({ path, isCheckout: false });

t.test(
  'a name has no directory, no leading dot, no control character and is no instruction',
  async (t) => {
    const cases = {
      '../../x': 'x',
      '..\\..\\report.csv': 'report.csv',
      '/etc/passwd': 'passwd',
      '.gitignore': 'gitignore',
      '..': 'attachment.png',
      '': 'attachment.png',
      'a\nb\u0000c.txt': 'a_b_c.txt',
      'CLAUDE.md': 'attached-CLAUDE.md',
      'Überblick (2).xlsx': 'Überblick (2).xlsx',
      'a`rm`.txt': 'a_rm_.txt',
    };
    for (const [name, safe] of Object.entries(cases)) t.equal(safeName(name, 'image/png'), safe);
    const long = safeName(`${'ä'.repeat(300)}.csv`, 'text/csv');
    t.ok(Buffer.byteLength(long) <= 120 && long.endsWith('.csv'));
  },
);

t.test('the time for a name of a million characters does not grow with their square', async (t) => {
  const many = 1_000_000;
  t.equal(safeName(`a${'.'.repeat(many)}b`, 'text/plain'), 'b');
  t.equal(safeName(`a${' '.repeat(many)}`, 'text/plain'), 'attachment.plain');
  t.equal(safeName('/'.repeat(many), 'text/plain'), 'attachment.plain');
  t.equal(safeName(`${'a'.repeat(many)}.csv`, 'text/csv'), `${'a'.repeat(116)}.csv`);
  const dots = safeName(`a${'.'.repeat(900)}b`, 'text/plain');
  t.equal(dots, `a${'.'.repeat(117)}.b`);
  t.equal(safeName(`\u{1f4c4}${'\u{10400}'.repeat(many)}`, 'text/csv').length, 60);
});

t.test('a name that exists in another case gets a number', async (t) => {
  t.equal(uniqueName('a.csv', new Set(['a.csv', 'a-2.csv'])), 'a-3.csv');
  t.equal(uniqueName('A.csv', new Set(['a.csv'])), 'A-2.csv');
});

t.test('the first bytes must fit a picture or a PDF', async (t) => {
  const of = (mediaType: string | undefined, data: Buffer) =>
    attachmentOf({ name: 'x', mediaType, data }, 'attachments.3');
  t.equal(of('image/PNG; charset=x', png).mediaType, 'image/png');
  t.equal(of(undefined, png).mediaType, 'image/png');
  t.equal(of('application/octet-stream', pdf).mediaType, 'application/pdf');
  t.equal(of(undefined, Buffer.from('text')).mediaType, 'application/octet-stream');
  const zip = Buffer.from('PK\u0003\u0004');
  const refusal = { code: 'invalid_request', details: { field: 'attachments.3' } };
  t.throws(() => of('application/pdf', zip), refusal, 'an archive is no PDF');
  t.throws(() => of('image/jpeg', png), refusal);
  t.throws(() => of('a type', png), refusal);
  t.throws(() => of('text/plain', Buffer.alloc(0)), refusal);
});

t.test('the narrower of two limits counts, and the error names its setting', async (t) => {
  const settings = { files: 2, bytes: 10 };
  const many = [file('a'), file('b'), file('c')];
  t.throws(() => checkLimits(many, settings, 'p'), /is 2; .*BERTH_ATTACHMENT_MAX_FILES/);
  t.throws(() => checkLimits(many, { files: 9, bytes: 8 }, 'p'), { code: 'payload_too_large' });
  t.throws(
    () => checkLimits(many, settings, 'p', { files: 1 }),
    /profiles.p.attachments.max_files/,
  );
  t.throws(() => checkLimits([file('a')], settings, 'p', { bytes: 1 }), /attachments.max_size/);
  checkLimits([], { files: 0, bytes: 0 }, 'p');
  const nameOf = ({ name }: Attachment): string => name;
  const kept = (own: object) => newestWithin(many, [file('x')], settings, own).map(nameOf);
  t.strictSame(kept({}), ['c'], 'the newest fit beside those of the message');
  t.strictSame(kept({ files: 1 }), []);
  t.strictSame(newestWithin(many, [], { files: 9, bytes: 8 }).map(nameOf), ['b', 'c']);
});

t.test(
  'pictures and PDFs become blocks before the text, and other files are written',
  async (t) => {
    const root = testDirectory(t, { attachments: { 'data.csv': 'older' } });
    const all = [
      attachmentOf({ name: 'x.png', mediaType: 'image/png', data: png }, ''),
      attachmentOf({ name: 'x.pdf', mediaType: undefined, data: pdf }, ''),
      file('data.csv', 'one', 'text/csv'),
      file('DATA.csv', 'two', 'text/csv'),
    ];
    const content = await placeAttachments('Look', all, placeIn(root));
    t.match(content, [
      { type: 'image', source: { media_type: 'image/png', data: png.toString('base64') } },
      { type: 'document', title: 'x.pdf' },
      {
        type: 'text',
        text: /^Look\n\nAttached files.*\n- attachments\/data-2.csv \(text\/csv, 3 bytes\)\n/,
      },
    ]);
    const directory = join(root, 'attachments');
    t.same(readdirSync(directory).sort(), ['.gitignore', 'DATA-3.csv', 'data-2.csv', 'data.csv']);
    t.equal(readFileSync(join(directory, 'data.csv'), 'utf8'), 'older');
    t.equal(readFileSync(join(directory, '.gitignore'), 'utf8'), '*\n');
    t.equal(await placeAttachments('Look', [], placeIn('nowhere')), 'Look');
  },
);

t.test('a file or a symlink in place of the directory is refused, not followed', async (t) => {
  const root = testDirectory(t, { outside: {} });
  const directory = join(root, 'attachments');
  const obstacles = [
    () => symlinkSync(join(root, 'outside'), directory),
    () => symlinkSync(join(root, 'absent'), directory),
    () => writeFileSync(directory, 'x'),
  ];
  for (const obstruct of obstacles) {
    obstruct();
    const place = (isCheckout: boolean) =>
      placeAttachments('x', [file('a.txt')], { path: root, isCheckout });
    await t.rejects(place(false), { code: 'invalid_request', message: /symlink; remove it/ });
    await t.rejects(place(true), { code: 'workspace_refused', message: /in the repository/ });
    rmSync(directory);
  }
  t.same(readdirSync(root), ['outside']);
  t.same(readdirSync(join(root, 'outside')), []);
});

t.test('a working directory that is gone is not made again', async (t) => {
  const root = testDirectory(t);
  const placing = placeAttachments('x', [file('a.txt')], placeIn(join(root, 'gone')));
  await t.rejects(placing, { code: 'volume_unwritable' });
  t.same(readdirSync(root), []);
});

testAttachmentStore(t, async (t) => {
  const root = testDirectory(t);
  const directory = (job: string): string => join(root, 'attachments', job);
  return {
    store: new KeptAttachments(root),
    accepted: async (job) => utimesSync(directory(job), 1, 1),
    spoil: async (job, content) => writeFileSync(join(directory(job), '0'), content),
  };
});

t.test('attachments that cannot be written leave nothing behind', async (t) => {
  const root = testDirectory(t, { attachments: 'a file' });
  await t.rejects(new KeptAttachments(root).save('job_1', [file('a')]), {
    code: 'volume_unwritable',
  });
  t.same(readdirSync(root), ['attachments']);
  mkdirSync(join(root, 'other'));
});

t.test('an attachment that cannot be read for lack of descriptors is not lost', async (t) => {
  const directory = testDirectory(t);
  const kept = await new KeptAttachments(directory).save('job_1', [file('a.csv')]);
  const script = `
    import { KeptAttachments } from ${JSON.stringify(pathToFileURL(join(root, 'supervisor/attachments/kept.ts')).href)};
    const [directory, kept] = process.argv.slice(1);
    const load = () => new KeptAttachments(directory).load('job_1', JSON.parse(kept));
    const free = exhaust();
    const refusal = await load().catch(({ code, message }) => [code, message]);
    free();
    console.log(JSON.stringify([refusal, (await load()).length]));
  `;
  t.match(await withoutDescriptors(script, directory, JSON.stringify(kept)), [
    ['volume_unwritable', /EMFILE.*when the job runs again/],
    1,
  ]);
});

const skip = cannotMount;

t.test('an attachment that the disk cannot read is not lost', { skip }, async (t) => {
  const directory = testDirectory(t);
  const store = new KeptAttachments(directory);
  const kept = await store.save('job_1', [file('a.csv')]);
  const unread = mountUnread(join(directory, 'attachments/job_1/0'));
  t.teardown(() => unread[Symbol.dispose]());
  await t.rejects(store.load('job_1', kept), { code: 'volume_unwritable', message: /EIO/ });
});

t.test('an attachment in whose place another kind of file is, is lost', async (t) => {
  const directory = testDirectory(t, { other: 'a,b' });
  const store = new KeptAttachments(directory);
  const kept = await store.save('job_1', [file('a.csv')]);
  const path = join(directory, 'attachments/job_1/0');
  const obstacles = [() => symlinkSync(join(directory, 'other'), path), () => mkdirSync(path)];
  for (const obstruct of obstacles) {
    rmSync(path, { recursive: true });
    obstruct();
    await t.rejects(store.load('job_1', kept), { code: 'invalid_request' });
  }
});
