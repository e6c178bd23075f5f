import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { removeLeftLocks, removeTraces } from '../../../supervisor/memory/cli-traces.ts';
import { offerToKernel } from '../../../supervisor/memory/oom-score.ts';
import { testDirectory } from '../../support/directory.ts';

const pid = 4_000_001;

function layOut(t: Test, owner: number | undefined) {
  const directory = testDirectory(t, { config: {}, tmp: { 'cc-socks': {} }, proc: {} });
  const config = join(directory, 'config');
  const locks = [join(config, '.oauth_refresh.lock'), `${config}.lock`];
  for (const lock of locks) mkdirSync(lock);
  const [lockBirthtimeMs, legacyLockBirthtimeMs] = locks.map((lock) => lstatSync(lock).birthtimeMs);
  const record = JSON.stringify({ pid: owner, lockBirthtimeMs, legacyLockBirthtimeMs });
  if (owner !== undefined) writeFileSync(`${locks[0]}.owner`, record);
  const dead = { pid, configDirectory: config, temporaryDirectory: join(directory, 'tmp') };
  return { directory, config, locks, dead, proc: join(directory, 'proc') };
}

/** Another CLI on the same directory. */
function other(proc: string, config: string): void {
  mkdirSync(join(proc, '77'));
  writeFileSync(join(proc, '77/environ'), `A=1\0CLAUDE_CONFIG_DIR=${config}\0`);
}

t.test('the locks of the dead worker are removed, even if other CLIs run', async (t) => {
  const { config, locks, dead, proc } = layOut(t, pid);
  other(proc, config);
  await removeTraces(dead, proc);
  t.same(locks.filter(existsSync), []);
  t.notOk(existsSync(`${locks[0]}.owner`));
});

t.test('if another CLI runs, its locks and the locks without an owner stay', async (t) => {
  for (const owner of [77, undefined]) {
    const { config, locks, dead, proc } = layOut(t, owner);
    other(proc, config);
    await removeTraces(dead, proc);
    t.same(locks.filter(existsSync), locks);
  }
});

t.test('if no other CLI runs, all locks are removed, but not other files', async (t) => {
  const { config, locks, dead, proc } = layOut(t, undefined);
  mkdirSync(join(config, '.storage-write.lock'));
  await removeTraces(dead, proc);
  t.same(locks.filter(existsSync), []);
  t.notOk(existsSync(join(config, '.storage-write.lock')));
  mkdirSync(join(config, '.storage-write.lock/full'), { recursive: true });
  await removeTraces(dead, proc);
  t.ok(existsSync(join(config, '.storage-write.lock/full')));
});

t.test('a lock that is taken during the search for live processes stays', async (t) => {
  const { config, locks, dead, proc, directory } = layOut(t, undefined);
  // Its look at this process waits until somebody writes.
  mkdirSync(join(proc, '77'));
  const environ = join(proc, '77/environ');
  execFileSync('mkfifo', [environ]);
  const removing = removeTraces(dead, proc);
  const looked = await open(environ, 'w');
  for (const lock of locks) {
    mkdirSync(join(directory, 'next'));
    rmdirSync(lock);
    renameSync(join(directory, 'next'), lock);
  }
  const record = join(config, '.oauth_refresh.lock.owner');
  writeFileSync(record, '{"pid":78}');
  await looked.close();
  await removing;
  t.same(locks.filter(existsSync), locks);
  t.ok(existsSync(record));
});

t.test('its socket goes, and no other file of that name', async (t) => {
  const { dead: made, proc } = layOut(t, undefined);
  // The path of a socket has a hundred characters at most.
  const dead = { ...made, temporaryDirectory: mkdtempSync(join(tmpdir(), 'berth-')) };
  t.teardown(() => rmSync(dead.temporaryDirectory, { recursive: true }));
  mkdirSync(join(dead.temporaryDirectory, 'cc-socks'));
  const socket = join(dead.temporaryDirectory, 'cc-socks', `${pid}.sock`);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  await removeTraces(dead, proc);
  t.notOk(existsSync(socket));
  server.close();
  writeFileSync(socket, '');
  await removeTraces(dead, proc);
  t.ok(existsSync(socket));
});

/** This process below the container's init, which has the same environment. */
function belowInit(proc: string, config: string): void {
  for (const [id, parent] of [
    [process.pid, 1],
    [1, 0],
  ]) {
    mkdirSync(join(proc, String(id)));
    writeFileSync(join(proc, `${id}/stat`), `${id} (a (b) c) S ${parent} 1 1 0`);
    writeFileSync(join(proc, `${id}/environ`), `CLAUDE_CONFIG_DIR=${config}\0`);
  }
}

t.test('at the start, all locks of a dead container are removed, even new locks', async (t) => {
  const { config, locks, proc } = layOut(t, 77);
  belowInit(proc, config);
  mkdirSync(join(config, '.storage-write.lock'));
  await removeLeftLocks(config, proc);
  t.same(locks.filter(existsSync), []);
  t.notOk(existsSync(`${locks[0]}.owner`));
  t.notOk(existsSync(join(config, '.storage-write.lock')));
});

t.test('at the start they stay while a CLI lives in the container', async (t) => {
  const { config, locks, proc } = layOut(t, 77);
  belowInit(proc, config);
  other(proc, config);
  await removeLeftLocks(config, proc);
  t.same(locks.filter(existsSync), locks);
});

t.test('at the start a lock that `berth login` may hold stays until it is old', async (t) => {
  const { config, locks, proc } = layOut(t, undefined);
  const [lock = '', beside = ''] = locks;
  // Of a CLI that was killed before; the lock there now is another one.
  writeFileSync(`${lock}.owner`, JSON.stringify({ pid: 77, lockBirthtimeMs: 1 }));
  await removeLeftLocks(config, proc);
  t.ok(existsSync(lock));
  t.notOk(existsSync(beside), '`berth login` does not take this one');
  const touched = Date.now() / 1_000 - 60;
  utimesSync(lock, touched, touched);
  await removeLeftLocks(config, proc);
  t.notOk(existsSync(lock));
});

t.test('the kernel is offered the child before the supervisor', (t) => {
  const child = spawn('sleep', ['60']);
  t.teardown(() => child.kill('SIGKILL'));
  t.ok(offerToKernel(child.pid ?? 0));
  t.notOk(offerToKernel(2 ** 22));
  t.end();
});
