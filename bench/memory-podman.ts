/**
 * Runs berth in a real podman container, with `--memory` as Kubernetes would set it. Its root is
 * this machine's root with a temporary overlay, so no image is needed. Its first process is tini,
 * as in berth's image.
 */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';
import {
  type BerthInCgroup,
  type BerthInCgroupOptions,
  environmentFor,
  layOut,
} from '../test/soak/berth-in-cgroup.ts';
import { memoryCgroupOf } from '../test/support/memory-cgroup.ts';
import { startMessagesApi } from '../test/support/messages-api.ts';
import { startProgram } from '../test/support/programs.ts';

const run = promisify(execFile);

/** Whether this machine has the necessary programs. */
export function hasPodman(): boolean {
  try {
    for (const program of ['podman', 'tini']) execFileSync(program, ['--version']);
    return true;
  } catch {
    return false;
  }
}

/** @param directory an empty directory for this run */
export async function startBerthInPodman(
  directory: string,
  { limit, mcpServers, settings = {} }: BerthInCgroupOptions,
): Promise<BerthInCgroup> {
  const api = await startMessagesApi();
  const token = layOut(directory, mcpServers);
  const name = `berth-bench-${process.pid}`;
  const environment = { ...environmentFor(directory, api.url), ...settings };
  const within = [
    ...['podman', 'run', '--rm', '--name', name, '--network', 'host'],
    ...['--memory', String(limit), '--memory-swap', String(limit)],
    ...['--ulimit', 'nofile=20000:20000', '--ulimit', 'nproc=32768:32768'],
    ...['--volume', `${directory}:${directory}`],
    ...Object.keys(environment).flatMap((variable) => ['--env', variable]),
    ...['--rootfs', '/:O', 'tini', '--'],
  ];
  const program = startProgram('serve', {
    arguments: ['serve'],
    within,
    environment: { ...process.env, ...environment },
  });
  const stop = async (): Promise<void> => {
    program.kill('SIGTERM');
    await program.ended;
    await api.close();
  };
  try {
    const url = String((await program.logged('listening')).address);
    const { stdout } = await run('podman', ['inspect', '--format', '{{.State.Pid}}', name]);
    const cgroup = memoryCgroupOf(Number(stdout));
    return { program, cgroup, target: { url, token }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
