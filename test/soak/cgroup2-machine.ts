/**
 * Runs the virtual machine: Debian's kernel under QEMU in software, without network. The machine has the
 * lowest priority, because it keeps its cores busy for minutes. It ends with the caller's signal.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import split2 from 'split2';

export interface MachineOptions {
  kernel: string;
  disk: string;
  /** A file that gets what the kernel prints. */
  console: string;
  onLine: (line: Record<string, unknown>) => void;
  signal: AbortSignal;
}

const commandLine = [
  ...['root=/dev/nvme0n1', 'rw', 'init=/init', 'console=ttyS0', 'panic=-1', 'mitigations=off'],
  ...['cgroup_no_v1=all', 'systemd.unified_cgroup_hierarchy=1', 'psi=1'],
].join(' ');

/** Returns when the machine is off. @throws Error if QEMU fails or the signal aborts */
export async function runMachine(options: MachineOptions): Promise<void> {
  const { kernel, disk, onLine, signal } = options;
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...['-machine', 'q35', '-accel', 'tcg', '-cpu', 'max,-erms', '-m', '3G'],
      ...['-icount', 'shift=0', '-nic', 'none', '-display', 'none', '-monitor', 'none'],
      ...['-no-reboot', '-kernel', kernel, '-append', commandLine],
      ...['-drive', `file=${disk},if=none,id=root,format=raw,cache=unsafe`],
      ...['-device', 'nvme,serial=root,drive=root'],
      ...['-serial', `file:${options.console}`, '-serial', 'stdio'],
    ],
    // A session of its own has its own group of the scheduler.
    { detached: true, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  lowerPriority(qemu);
  const stop = () => qemu.kill('SIGKILL');
  signal.addEventListener('abort', stop, { once: true });
  process.once('exit', stop);
  qemu.stdout?.pipe(split2()).on('data', (text: string) => {
    const line = parse(text);
    if (line) onLine(line);
  });
  const [code] = await once(qemu, 'close');
  process.removeListener('exit', stop);
  signal.throwIfAborted();
  if (code !== 0) throw new Error(`QEMU ended with ${code}`);
}

function lowerPriority({ pid }: ChildProcess): void {
  try {
    writeFileSync(`/proc/${pid}/autogroup`, '19');
  } catch {
    // Without this scheduler feature the machine has the usual priority.
  }
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
