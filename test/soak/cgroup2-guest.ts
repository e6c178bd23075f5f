/**
 * The program of the virtual machine of `npm run soak:cgroup2`. It runs the tests of the memory guard, kernel
 * kills without berth, and leaks with berth; it prints a JSON line for each result. The argument selects
 * the parts, by default all.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { leakInContainer, leakWithScriptedCli } from './cgroup2-leaks.ts';
import { report } from './cgroup2-report.ts';
import { runTest } from './cgroup2-tests.ts';
import { killByKernel, seeKernelKill } from './cgroup2-unguarded.ts';

const tests = join(import.meta.dirname, '../supervisor/memory');

/** Runs only if it is selected. */
const scripted = 'scripted-leaks';

const parts: Record<string, () => Promise<void>> = {
  unguarded: killByKernel,
  leaks: () => leakInContainer(),
  seen: seeKernelKill,
  [scripted]: leakWithScriptedCli,
  tests: async () => {
    for (const name of readdirSync(tests)) await runTest(join(tests, name));
  },
};

report('machine', {
  kernel: release(),
  node: process.version,
  controllers: readFileSync('/sys/fs/cgroup/cgroup.controllers', 'utf8').trim(),
  swap: readFileSync('/proc/swaps', 'utf8').trim().split('\n').length - 1,
});
const all = Object.keys(parts).filter((name) => name !== scripted);
const chosen = process.argv.slice(2);
for (const name of chosen.length > 0 ? chosen : all) {
  const began = performance.now();
  try {
    await parts[name]?.();
  } catch (error) {
    report('failed', { part: name, error: error instanceof Error ? error.stack : String(error) });
  }
  report('part', { part: name, seconds: Math.round((performance.now() - began) / 1000) });
}
report('end', {});
process.exit();
