/**
 * A process that shares the lease on a directory, to be killed or suspended by a test:
 *   node shared-holder.ts DIRECTORY ROLE EXPIRY
 * It prints `held` when it has the lease, as keeper or as guest.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { pathToFileURL } from 'node:url';
import type { Test } from 'tap';
import { acquireLease } from '../../shared/lease.ts';
import type { LeaseRole } from '../../shared/lease-link.ts';
import { silent } from '../../shared/log.ts';

export interface SharedHolder {
  role: LeaseRole;
  ended: Promise<unknown>;
  kill(): void;
  suspend(): void;
}

/** Returns when the process holds the lease; the process ends with the test. */
export async function startHolder(
  t: Test,
  directory: string,
  role: LeaseRole,
  expiry: number,
): Promise<SharedHolder> {
  const given = [import.meta.filename, directory, role, String(expiry)];
  const child = spawn(process.execPath, given, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => void child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  return {
    role,
    ended,
    kill: () => void child.kill('SIGKILL'),
    suspend: () => void child.kill('SIGSTOP'),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [directory = '', role, expiryText] = process.argv.slice(2);
  const expiry = Number(expiryText);
  await acquireLease({
    directory,
    program: `process ${process.pid}`,
    log: silent,
    signal: AbortSignal.timeout(60_000),
    heartbeat: expiry / 5,
    expiry,
    sharing: { role: role as LeaseRole, accepts: () => true, onPeer: () => undefined },
  });
  process.stdout.write('held\n');
  setInterval(() => undefined, 60_000);
}
