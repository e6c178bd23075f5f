/** Packs as git itself makes them, and packs that no git makes. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import t from 'tap';
import { CommitScan, descent } from '../../../init/gateway/ancestry.ts';
import { testDirectory } from '../../support/directory.ts';
import { createRepository, gitEnvironment } from '../../support/repository.ts';

function scanOf(pack: Buffer, size = pack.length): CommitScan {
  const scan = new CommitScan();
  for (let at = 0; at < pack.length; at += size) scan.add(pack.subarray(at, at + size));
  scan.finish();
  return scan;
}

/** An object of a pack: type 1 is a commit, 3 a blob. */
function object(type: number, content: Buffer, size = content.length): Buffer {
  const header: number[] = [(type << 4) | (size & 15) | (size > 15 ? 128 : 0)];
  for (let left = size >>> 4; left > 0; left >>>= 7)
    header.push((left & 127) | (left > 127 ? 128 : 0));
  return Buffer.concat([Buffer.from(header), deflateSync(content)]);
}

function packOf(...objects: Buffer[]): Buffer {
  const head = Buffer.from('PACK\0\0\0\x02\0\0\0\0', 'latin1');
  head.writeUInt32BE(objects.length, 8);
  return Buffer.concat([head, ...objects, Buffer.alloc(20)]);
}

const commitOn = (parent: string, text = 'x') =>
  Buffer.from(
    `tree ${'0'.repeat(40)}\nparent ${parent}\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\n${text}\n`,
  );

t.test('the commits of a pack of git prove which commit descends from which', async (t) => {
  const repository = createRepository(testDirectory(t), 'app', { 'a.bin': randomBytes(50_000) });
  const first = repository.head();
  const message = `the same long message each time ${'so that git stores a delta '.repeat(40)}`;
  for (let count = 0; count < 20; count++)
    repository.commit({ 'a.txt': `${count}` }, `${message}${count}`);
  const last = repository.head();
  const fork = repository.rewrite({ 'a.txt': 'other' }, 'Other', 'fork');
  const git = (args: string[], input: string) =>
    execFileSync('git', args, {
      cwd: repository.path,
      env: gitEnvironment(),
      input,
      maxBuffer: 2 ** 28,
    });
  const pack = git(
    ['pack-objects', '--revs', '--thin', '--stdout', '-q', '--delta-base-offset'],
    `${last}\n${fork}\n^${first}\n`,
  );
  for (const size of [pack.length, 1_000, 7]) {
    const { history, done } = scanOf(pack, size);
    t.ok(done);
    t.equal(history.size, 21);
    t.ok(descent(last, first, history).proven);
    t.notOk(descent(fork, first, history).proven);
    t.notOk(descent(first, last, history).proven, 'not backwards');
    t.same(descent('c'.repeat(40), first, history), { proven: false, unknown: ['c'.repeat(40)] });
  }
});

t.test('a pack that hides its commits, or lies, proves nothing', async (t) => {
  const old = 'a'.repeat(40);
  const { history } = scanOf(packOf(object(1, commitOn(old))));
  const [id = ''] = history.keys();
  t.ok(descent(id, old, history).proven, 'a plain commit does');
  t.equal(
    scanOf(packOf(object(3, Buffer.from('x')), object(1, commitOn(old)))).history.size,
    0,
    'behind a blob',
  );
  const inMessage = Buffer.from(`tree ${'0'.repeat(40)}\nauthor a <a> 0 +0000\n\nparent ${old}\n`);
  t.same(
    [...scanOf(packOf(object(1, inMessage))).history.values()],
    [[]],
    'a parent in the message',
  );
  const large = object(1, commitOn(old, 'x'.repeat(2_000_000)));
  t.equal(scanOf(packOf(large)).history.size, 0, 'a commit without measure');
  t.throws(() => scanOf(packOf(object(1, commitOn(old), 20))), 'another size than its header says');
  t.throws(() => scanOf(Buffer.from('PUCK'.repeat(10))), { message: /not a pack/ });
  t.equal(scanOf(packOf(object(1, commitOn(old))).subarray(0, 60)).history.size, 0, 'a torn pack');
});
