import { chmodSync, chownSync, lstatSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { handOver, takeOwnership } from '../../../../init/volume/ownership.ts';
import { refusal } from '../../../../shared/owner.ts';
import { captureLog, type Harbour, openHarbour, walk } from '../../../init/fixture.ts';
import { canChangeUser, runProgram } from '../../../init/process.ts';
import { testDirectory } from '../../../support/directory.ts';

const skip = canChangeUser ? false : 'needs root and setpriv';
const owner = { uid: 1000, gid: 1000 };
const { signal } = new AbortController();

/** What a manifest grants; any other capability is dropped. */
const firstRun = ['chown'];
const laterRuns = ['chown', 'dac_override', 'fowner'];

function isOwned(t: Test, harbour: Harbour) {
  for (const path of ['', '.berth', '.berth/git', ...walk(harbour.volume)]) {
    t.match(lstatSync(join(harbour.volume, path)), owner, path || 'the volume itself');
  }
}

t.test('as root, everything that others own is given to the user', { skip }, async (t) => {
  const directory = testDirectory(t, { volume: { a: { 'b.md': 'b' } }, outside: { c: 'c' } });
  const volume = join(directory, 'volume');
  symlinkSync(join(directory, 'outside'), join(volume, 'link'));
  chownSync(join(volume, 'a'), 1000, 1000);
  const { log, lines } = captureLog();
  t.equal(await takeOwnership([volume], owner, { signal, log }), 2, 'link and b.md');
  t.equal(lstatSync(volume).uid, 0, 'the volume itself comes last');
  await handOver([volume], owner, log);
  for (const path of ['', 'a', 'a/b.md', 'link']) {
    t.match(lstatSync(join(volume, path)), owner, path || 'the volume itself');
  }
  t.equal(lstatSync(join(directory, 'outside/c')).uid, 0, 'nothing behind the symlink');
  t.equal(await takeOwnership([volume], owner, { signal, log }), 0, 'and no more the next time');
  t.match(lines, [{ event: 'ownership_changed', changed: 2 }]);
});

t.test('a first run needs the capability CHOWN alone', { skip }, async (t) => {
  const harbour = await openHarbour(t, { 'CLAUDE.md': 'a', 'docs/a/b.md': 'b', 'bin/x': 'x' });
  chmodSync(harbour.volume, 0o700);
  const { code, lines } = await runProgram(harbour.environment(), { as: { root: firstRun } });
  t.equal(code, 0);
  t.match(lines.at(-1), { event: 'report', written: 3 });
  isOwned(t, harbour);
});

t.test('later runs need DAC_OVERRIDE and FOWNER as well', { skip }, async (t) => {
  const harbour = await openHarbour(t, { 'docs/a.md': 'a' });
  await runProgram(harbour.environment(), { as: { root: firstRun } });
  harbour.repository.commit({ 'docs/a.md': 'b', 'docs/new.md': 'new' });
  mkdirSync(join(harbour.volume, 'projects/x'), { recursive: true, mode: 0o700 });
  writeFileSync(join(harbour.volume, 'projects/x/1.jsonl'), 'root wrote this', { mode: 0o600 });
  chownSync(join(harbour.volume, 'projects'), 1000, 1000);
  const bare = await runProgram(harbour.environment(), { as: { root: firstRun } });
  t.equal(bare.code, 73);
  t.match(bare.lines.at(-1), {
    msg: /DAC_OVERRIDE; add CHOWN, DAC_OVERRIDE and FOWNER|DAC_OVERRIDE/,
  });
  const { code, lines } = await runProgram(harbour.environment(), { as: { root: laterRuns } });
  t.equal(code, 0);
  t.match(lines.at(-1), { event: 'report', written: 2 });
  isOwned(t, harbour);
  const again = await runProgram(harbour.environment(), { as: { root: laterRuns } });
  t.match(again.lines.at(-1), { event: 'report', owned: 0 });
});

t.test('a directory made where a file of the user stood changes hands', { skip }, async (t) => {
  const oid = '1234567890123456789012345678901234567890';
  const harbour = await openHarbour(t, { 'a.md': 'a', module: { submodule: oid } });
  await harbour.run();
  writeFileSync(join(harbour.volume, 'module'), 'of the user');
  chownSync(join(harbour.volume, 'module'), 1000, 1000);
  harbour.repository.commit({ module: null, 'module/b.md': 'b' });
  await harbour.run();
  t.same(harbour.conflicts(), ['module']);
  for (const path of ['module', 'module/b.md']) {
    t.match(lstatSync(join(harbour.volume, path)), owner, path);
  }
});

t.test('without CHOWN, the error for root names the needed capabilities', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  const { code, lines } = await runProgram(harbour.environment(), { as: { root: [] } });
  t.equal(code, 73);
  t.match(lines.at(-1), { event: 'failed', msg: /CHOWN, DAC_OVERRIDE and FOWNER/ });
});

t.test('where all files have one owner, the options of the mount are named', async (t) => {
  const cause = Object.assign(new Error('EPERM'), { code: 'EPERM' });
  const message = (type?: number) => refusal('/claude-config/x', owner, cause, type).message;
  t.match(message(0x2011bab0), /a volume of exFAT .* mount it with the options uid=1000,gid=1000$/);
  t.match(message(0x65735546), /a volume of FUSE /);
  t.match(message(0xef53), /capabilities CHOWN, DAC_OVERRIDE and FOWNER/);
});

t.test('as the user, a run needs no rights but its own', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  chownSync(harbour.volume, 1000, 1000);
  const { code, lines } = await runProgram(harbour.environment(), { as: 'user' });
  t.equal(code, 0);
  t.match(lines.at(-1), { event: 'report', written: 2, owned: 0 });
  t.match(lstatSync(join(harbour.volume, 'CLAUDE.md')), owner);
  t.notOk(lines.some(({ level }) => level === 'warn'));
});

t.test('as the user, a volume of root is refused with the missing setting', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  const { code, lines } = await runProgram(harbour.environment(), { as: 'user' });
  t.equal(code, 73);
  t.match(lines.at(-1), {
    event: 'failed',
    msg: /belongs to 0:0 with mode 755, and berth-init runs as 1000:1000; set fsGroup: 1000/,
  });
});

t.test('as the user with an fsGroup, a volume that ignores it is named', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  const { code, lines } = await runProgram(harbour.environment(), { as: 'user', groups: [2000] });
  t.equal(code, 73);
  t.match(lines.at(-1), {
    msg: /\(groups 2000\); the volume ignores fsGroup.*chown it on its server/,
  });
});

t.test('as the user with an fsGroup, a volume of that group is used', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  chownSync(harbour.volume, 0, 2000);
  chmodSync(harbour.volume, 0o2775);
  const { code, lines } = await runProgram(harbour.environment(), { as: 'user', groups: [2000] });
  t.equal(code, 0);
  t.notOk(lines.some(({ event }) => event === 'ownership_foreign'));
});

t.test("as the user, another owner's file becomes executable", { skip }, async (t) => {
  const harbour = await openHarbour(t, { 'a.sh': 'true\n' });
  const path = join(harbour.volume, 'a.sh');
  chownSync(harbour.volume, 0, 2000);
  chmodSync(harbour.volume, 0o2775);
  const run = () => runProgram(harbour.environment(), { as: 'user', groups: [2000] });
  t.equal((await run()).code, 0);
  chownSync(path, 0, 2000);
  chmodSync(path, 0o664);
  harbour.repository.commit({ 'a.sh': { content: 'true\n', mode: '100755' } });
  t.equal((await run()).code, 0);
  t.match(lstatSync(path), { uid: 1000, mode: 0o100755 });
  t.equal(harbour.read('a.sh'), 'true\n');
});

t.test('run as the user, init reports a directory that belongs to root', { skip }, async (t) => {
  const harbour = await openHarbour(t, { 'docs/a.md': 'a' });
  chownSync(harbour.volume, 1000, 1000);
  mkdirSync(join(harbour.volume, 'docs'), { mode: 0o755 });
  const { code, lines } = await runProgram(harbour.environment(), { as: 'user' });
  t.equal(code, 73);
  t.match(lines.at(-1), { event: 'failed', code: 'volume_unwritable', msg: /docs.*fsGroup/ });
});

t.test('run as the user, init warns about files that the CLI cannot write', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  chownSync(harbour.volume, 1000, 1000);
  mkdirSync(join(harbour.volume, 'projects/x'), { recursive: true });
  writeFileSync(join(harbour.volume, 'projects/x/1.jsonl'), 'of root');
  const { code, lines } = await runProgram(harbour.environment(), { as: 'user' });
  t.equal(code, 0);
  const warnings = lines.filter(({ event }) => event === 'ownership_foreign');
  t.match(warnings, [{ count: 3, msg: /such as .*1\.jsonl.*fsGroupChangePolicy to Always/ }]);
});

t.test('an init of another user than the CLI is warned about', { skip }, async (t) => {
  const harbour = await openHarbour(t);
  chownSync(harbour.volume, 1000, 1000);
  const { lines } = await runProgram(harbour.environment({ BERTH_UID: '1001' }), { as: 'user' });
  t.match(
    lines.filter(({ event }) => event === 'ownership_foreign'),
    [{ msg: /runs as user 1000 and the CLI as 1001.*the same runAsUser/ }],
  );
});
