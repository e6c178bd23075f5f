import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { acquireLease } from '../../shared/lease.ts';
import {
  claimName,
  createLease,
  type LeaseFile,
  parseLease,
  replaceLease,
  takeOver,
} from '../../shared/lease-file.ts';
import { captureLog } from '../init/fixture.ts';
import { testDirectory } from '../support/directory.ts';

const lease = (owner: string): LeaseFile => ({ version: 1, owner, holder: 'a test', beat: 0 });
const dead = JSON.stringify(lease('dead'));

t.test('a lease is created only where none is', async (t) => {
  const path = join(testDirectory(t), 'lease.json');
  const created = await Promise.all(
    ['a', 'b', 'c'].map((owner) => createLease(path, lease(owner))),
  );
  t.equal(created.filter(Boolean).length, 1);
});

t.test('if many owners take over a dead lease at once, exactly one owner succeeds', async (t) => {
  for (let time = 0; time < 20; time++) {
    const directory = testDirectory(t, { 'lease.json': dead });
    const path = join(directory, 'lease.json');
    const owners = Array.from({ length: 6 }, (_, index) => `owner-${index}`);
    const outcomes = await Promise.all(owners.map((one) => takeOver(path, dead, 1, lease(one))));
    t.equal(outcomes.filter((outcome) => outcome === 'taken').length, 1);
    const winner = owners[outcomes.indexOf('taken')];
    t.equal(parseLease(readFileSync(path, 'utf8'))?.owner, winner);
    t.strictSame(readdirSync(directory), ['lease.json'], 'no claim stays');
  }
});

t.test('a lease with a new heartbeat or owner is not taken over', async (t) => {
  const alive = JSON.stringify({ ...lease('dead'), beat: 1 });
  const directory = testDirectory(t, { 'lease.json': alive });
  const path = join(directory, 'lease.json');
  t.equal(await takeOver(path, dead, 1, lease('other')), 'changed');
  t.equal(readFileSync(path, 'utf8'), alive);
  t.strictSame(readdirSync(directory), ['lease.json']);
});

t.test('a dead lease with the claim of a killed process can be taken over', async (t) => {
  const directory = testDirectory(t, { 'lease.json': dead });
  writeFileSync(join(directory, `lease.json.${claimName(dead, 1)}`), 'left by a killed one');
  const { log } = captureLog();
  const { signal } = new AbortController();
  const started = performance.now();
  const times = { heartbeat: 20, expiry: 200 };
  const held = await acquireLease({ directory, program: 'init', log, signal, ...times });
  t.ok(performance.now() - started >= 400, 'the dead lease and the dead claim have each expired');
  await held.release();
});

t.test('a renewal that comes too late does not happen', async (t) => {
  const directory = testDirectory(t, { 'lease.json': dead });
  const path = join(directory, 'lease.json');
  t.equal(await replaceLease(path, lease('late'), () => false), false);
  t.equal(readFileSync(path, 'utf8'), dead);
  t.strictSame(readdirSync(directory), ['lease.json']);
});

t.test('a text that is no lease of this version is ignored', async (t) => {
  for (const text of ['', '[]', '{"version":2}', dead.replace('dead', 'x'.repeat(65))]) {
    t.equal(parseLease(text), undefined, text);
  }
});
