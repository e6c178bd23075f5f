/**
 * Preloaded into a program (`node --import`), ends it with SIGKILL at its KILL_AT_CHANGE-th change of
 * the file system, just before that is made; so every moment that leaves a volume different can be
 * met, and met again. Without the variable it writes the number of changes to COUNT_CHANGES_TO.
 */
import fs from 'node:fs';
import promises, { open } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

const { KILL_AT_CHANGE, COUNT_CHANGES_TO } = process.env;
const last = KILL_AT_CHANGE === undefined ? Number.POSITIVE_INFINITY : Number(KILL_AT_CHANGE);
let changes = 0;

type Call = (...given: unknown[]) => unknown;

function watch(object: object, names: readonly string[]): void {
  const methods = object as Record<string, Call>;
  for (const name of names) {
    const original = methods[name] as Call;
    methods[name] = function (this: unknown, ...given) {
      if (changes++ >= last) process.kill(process.pid, 'SIGKILL');
      return original.apply(this, given);
    };
  }
}

const handle = await open('/dev/null');
watch(Object.getPrototypeOf(handle), ['writeFile', 'write', 'truncate', 'chmod', 'sync']);
await handle.close();
watch(promises, [
  'mkdir',
  'rename',
  'rm',
  'rmdir',
  'unlink',
  'symlink',
  'link',
  'writeFile',
  'open',
]);
watch(promises, ['chmod', 'lchown', 'chown', 'cp']);
watch(fs, ['openSync', 'writeSync', 'writeFileSync', 'fsyncSync', 'fdatasyncSync', 'fchmodSync']);
watch(fs, [
  'mkdirSync',
  'renameSync',
  'rmSync',
  'rmdirSync',
  'unlinkSync',
  'symlinkSync',
  'linkSync',
]);
syncBuiltinESMExports();

const { writeFileSync } = fs;
process.on('exit', () => {
  if (COUNT_CHANGES_TO) writeFileSync(COUNT_CHANGES_TO, String(changes));
});
