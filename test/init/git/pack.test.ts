/** Packs as git itself makes them, read by init/git/pack.ts and again by init/git/stored-pack.ts. */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { deflateSync } from 'node:zlib';
import t, { type Test } from 'tap';
import { LargeFiles } from '../../../init/git/large-object.ts';
import { Pack } from '../../../init/git/pack.ts';
import { buildIndex, objectId } from '../../../init/git/pack-format.ts';
import { StoredPack } from '../../../init/git/stored-pack.ts';
import { testDirectory } from '../../support/directory.ts';
import { createRepository, gitEnvironment, type Repository } from '../../support/repository.ts';

const none = async (oid: string): Promise<never> => {
  throw new Error(`${oid} is not here`);
};

/** A history with deltas, an empty file and a file that is read piece by piece. */
function makeRepository(t: Test): Repository {
  const text = Array.from({ length: 400 }, (_, line) => `line ${line} ${line * 7919}`);
  const repository = createRepository(testDirectory(t), 'repository', {
    'text.md': text.join('\n'),
    'empty.md': '',
    'large.bin': randomBytes(300_000),
  });
  for (let change = 0; change < 5; change++) {
    text[change * 50] = `changed ${change}`;
    repository.commit({ 'text.md': text.join('\n') });
  }
  return repository;
}

function git({ path }: Repository, arguments_: string[], input = ''): Buffer {
  return execFileSync('git', arguments_, {
    cwd: path,
    env: gitEnvironment(),
    input,
    stdio: ['pipe', 'pipe', 'ignore'],
    maxBuffer: 2 ** 28,
  });
}

const idsOf = (repository: Repository): string[] =>
  git(repository, ['cat-file', '--batch-all-objects', '--batch-check=%(objectname)'])
    .toString()
    .trim()
    .split('\n');

async function read(
  t: Test,
  bytes: Buffer,
  {
    size = 65_536,
    most = 2 ** 30,
    external = none as (oid: string) => Promise<never>,
    directory = mkdtempSync(join(tmpdir(), 'berth-pack-')),
  } = {},
) {
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, 'pack');
  const allow = (inflated: number) => {
    if (inflated > most) throw new Error('too large');
  };
  const largeFiles = new LargeFiles();
  const pack = Pack.create({ path, allow, external, largeFiles });
  t.teardown(async () => {
    await pack.close();
    largeFiles.clear();
  });
  try {
    for (let at = 0; at < bytes.length; at += size) await pack.write(bytes.subarray(at, at + size));
    return { pack, directory, largeFiles, trailer: await pack.finish() };
  } catch (error) {
    await pack.close();
    largeFiles.clear();
    throw error;
  }
}

t.test('every object of a pack has its id and its content, however the bytes come', async (t) => {
  const repository = makeRepository(t);
  const ids = idsOf(repository);
  for (const base of ['--delta-base-offset', '--no-reuse-object']) {
    const bytes = git(repository, ['pack-objects', '--stdout', '-q', base], `${ids.join('\n')}\n`);
    for (const size of [101, 65_536, bytes.length]) {
      await t.test(`${base} in pieces of ${size}`, async (t) => {
        const { pack, trailer } = await read(t, bytes, { size });
        t.equal(pack.rows.length, ids.length);
        const wrong: string[] = [];
        for (const oid of ids) {
          for (const again of [await pack.read(oid), await pack.read(oid)]) {
            if (objectId(again.type, again.content) !== oid) wrong.push(oid);
          }
        }
        t.strictSame(wrong, []);
        t.equal(trailer.toString('hex'), bytes.subarray(-20).toString('hex'));
      });
    }
  }
});

t.test('git and the next run find every object through the written index', async (t) => {
  const repository = makeRepository(t);
  const ids = idsOf(repository);
  const arguments_ = ['pack-objects', '--stdout', '-q', '--delta-base-offset'];
  const bytes = git(repository, arguments_, `${ids.join('\n')}\n`);
  const { pack, trailer } = await read(t, bytes);
  const name = join(repository.path, 'pack-x');
  writeFileSync(`${name}.pack`, bytes);
  writeFileSync(`${name}.idx`, buildIndex(pack.rows, trailer));
  git(repository, ['verify-pack', `${name}.idx`]);
  const stored = await StoredPack.open(name);
  t.teardown(() => stored?.close());
  const wrong: string[] = [];
  for (const oid of ids) {
    const found = await stored?.read(oid, none);
    if (!found || objectId(found.type, found.content) !== oid) wrong.push(oid);
  }
  t.strictSame(wrong, []);
  t.equal(await stored?.read('0'.repeat(40), none), undefined);
  writeFileSync(`${name}.idx`, '');
  t.equal(await StoredPack.open(name), undefined, 'torn by a power cut');
});

t.test(
  'a delta whose base is outside the pack reads the base from the external source',
  async (t) => {
    const repository = makeRepository(t);
    const wanted = `${repository.head()}\n^${repository.head()}~1\n`;
    const bytes = git(repository, ['pack-objects', '--stdout', '-q', '--thin', '--revs'], wanted);
    const asked: string[] = [];
    const external = async (oid: string) => {
      asked.push(oid);
      const type = git(repository, ['cat-file', '-t', oid]).toString().trim();
      return { type, content: git(repository, ['cat-file', type, oid]) } as never;
    };
    const { pack } = await read(t, bytes, { external });
    t.ok(asked.length > 0);
    const blob = git(repository, ['rev-parse', 'main:text.md']).toString().trim();
    const { type, content } = await pack.read(blob);
    t.equal(objectId(type, content), blob);
    await t.rejects(read(t, bytes), { message: /is not here/ });
  },
);

t.test('a pack with any bit changed, or cut anywhere, is refused', async (t) => {
  const repository = makeRepository(t);
  const arguments_ = ['pack-objects', '--stdout', '-q', '--delta-base-offset'];
  const bytes = git(repository, arguments_, `${idsOf(repository).join('\n')}\n`);
  const taken: number[] = [];
  for (let at = 0; at < bytes.length; at += Math.ceil(bytes.length / 41)) {
    const flipped = Buffer.from(bytes);
    flipped.writeUInt8((bytes[at] ?? 0) ^ 0x10, at);
    for (const damaged of [flipped, bytes.subarray(0, at)]) {
      await read(t, damaged).then(
        () => taken.push(at),
        () => undefined,
      );
    }
  }
  t.strictSame(taken, []);
});

t.test('the inflated size of a pack is limited before memory is allocated', async (t) => {
  const repository = createRepository(testDirectory(t), 'bomb', {
    zeros: Buffer.alloc(50_000_000),
  });
  const ids = `${idsOf(repository).join('\n')}\n`;
  const bytes = git(repository, ['pack-objects', '--stdout', '-q'], ids);
  t.ok(bytes.length < 1_000_000, 'it is small as it travels');
  const before = process.memoryUsage().arrayBuffers;
  await t.rejects(read(t, bytes, { most: 10_000_000 }), { message: 'too large' });
  t.ok(process.memoryUsage().arrayBuffers - before < 10_000_000);
});

t.test('an object whose declared size differs from the real size is refused', async (t) => {
  const head = Buffer.from('PACK\0\0\0\x02\0\0\0\x01', 'latin1');
  for (const size of [1, 14]) {
    const body = Buffer.concat([head, Buffer.from([0x30 | size]), deflateSync('twelve bytes')]);
    const trailer = createHash('sha1').update(body).digest();
    await t.rejects(read(t, Buffer.concat([body, trailer])), Error, `${size} instead of 12`);
  }
});

t.test('a large object can be taken once as a file; files not taken are deleted', async (t) => {
  const repository = makeRepository(t);
  const content = Buffer.concat([Buffer.alloc(3_000_000), randomBytes(3_000_000)]);
  repository.commit({ 'larger.bin': content });
  const ids = `${idsOf(repository).join('\n')}\n`;
  const bytes = git(repository, ['pack-objects', '--stdout', '-q', '--delta-base-offset'], ids);
  const { pack, directory, largeFiles } = await read(t, bytes);
  const file = largeFiles.take(objectId('blob', content));
  t.ok(file && readFileSync(file.path).equals(content));
  t.equal(largeFiles.take(objectId('blob', content)), undefined);
  t.equal(
    largeFiles.take(git(repository, ['rev-parse', 'main:empty.md']).toString().trim()),
    undefined,
  );
  t.equal((await pack.read(objectId('blob', content))).content.equals(content), true);
  t.equal(readdirSync(directory).length, 3, 'the pack, and the file of the other large one');
  await pack.close();
  largeFiles.clear();
  t.strictSame(readdirSync(directory).sort(), ['pack', basename(file?.path ?? '')].sort());
});

t.test(
  'a large object with a wrong declared size is refused, and its file is deleted',
  async (t) => {
    const content = randomBytes(1_000_000);
    for (const difference of [-1, 1]) {
      const size = content.length + difference;
      const header = [
        0xb0 | (size & 15),
        0x80 | ((size >> 4) & 0x7f),
        0x80 | ((size >> 11) & 0x7f),
      ];
      const head = Buffer.from('PACK\0\0\0\x02\0\0\0\x01', 'latin1');
      const object = [Buffer.from([...header, size >> 18]), deflateSync(content)];
      const body = Buffer.concat([head, ...object]);
      const trailer = createHash('sha1').update(body).digest();
      const directory = mkdtempSync(join(tmpdir(), 'berth-pack-'));
      t.teardown(() => rmSync(directory, { recursive: true, force: true }));
      const whole = Buffer.concat([body, trailer]);
      await t.rejects(read(t, whole, { directory }), { message: /header/ });
      t.strictSame(readdirSync(directory), ['pack']);
    }
  },
);
