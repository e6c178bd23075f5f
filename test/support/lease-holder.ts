/**
 * A process that takes the lease, to be killed, suspended or raced by a test:
 *   node lease-holder.ts DIRECTORY EXPIRY [CLOCK] [alone]
 * EXPIRY in milliseconds; CLOCK shifts what the process takes for the time of day, in milliseconds;
 * with `alone` it has no witness, as if it ran on another node. It prints `waiting` while another
 * holds the lease and `held` with its owner, then answers each line on its input: `publish` by `published` or `refused`, `release` by ending.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { writeFileAtomic } from '../../shared/files.ts';
import { acquireLease } from '../../shared/lease.ts';
import { createLog } from '../../shared/log.ts';

const [directory = '', expiryText, clock = '0', alone] = process.argv.slice(2);
const expiry = Number(expiryText);
const now = Date.now;
Date.now = () => now() + Number(clock);
if (alone) Object.defineProperty(process, 'platform', { value: 'elsewhere' });

const log = createLog({
  service: 'test',
  version: '0',
  level: 'info',
  pretty: false,
  destination: {
    write: (line) =>
      void (JSON.parse(line).event === 'lease_waiting' && process.stdout.write('waiting\n')),
  },
});
const lease = await acquireLease({
  directory,
  program: `process ${process.pid}`,
  log,
  signal: AbortSignal.timeout(60_000),
  heartbeat: expiry / 5,
  expiry,
});
const { owner } = JSON.parse(readFileSync(join(directory, 'lease.json'), 'utf8'));
process.stdout.write(`held ${owner}\n`);

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'release') break;
  try {
    const beforeRename = () => lease.assertHeld();
    await writeFileAtomic(join(directory, 'published'), owner, { beforeRename });
    process.stdout.write('published\n');
  } catch {
    process.stdout.write('refused\n');
  }
}
await lease.release();
process.exit();
