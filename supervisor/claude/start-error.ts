/**
 * Explains why the system refuses to start a process, with the remedy, and whether the cause is
 * transient.
 */

/** By error code of the system call; for other codes the message is enough. */
const causes: Readonly<Record<string, string>> = {
  EAGAIN:
    'the container may not start another process (EAGAIN); raise its pids limit (podPidsLimit of the kubelet), or find the tool that starts so many',
  ENOMEM:
    'there is not enough memory for another process (ENOMEM); raise resources.limits.memory or lower BERTH_MAX_WORKERS',
  EMFILE: 'too many files are open (EMFILE); raise the nofile limit of the container',
  ENFILE: 'too many files are open on the machine (ENFILE)',
  E2BIG:
    'its arguments and environment are too long (E2BIG); shorten the lists of tools and the instructions of the profile and of the request',
  ENOENT: 'the program or its working directory does not exist (ENOENT)',
  EACCES: 'the program may not be executed (EACCES)',
};

/** Undefined for an error with another cause than the start of a process. */
export function causeOfStartError(error: unknown): string | undefined {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return syscall?.startsWith('spawn') && code !== undefined ? causes[code] : undefined;
}

/**
 * Signals that end a process without enough memory or threads: the kernel's killer, an abort, a
 * trap.
 */
const signalsOfWant = new Set(['SIGKILL', 'SIGABRT', 'SIGTRAP']);
const codesOfWant = new Set(['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE']);

/** The most likely cause of death of a process that one of these signals ended. */
export function causeOfSignal(signal: string | undefined): string {
  return `was ended by ${signal}, for lack of memory or processes; raise resources.limits.memory, or the pids limit of the container (podPidsLimit of the kubelet)`;
}

/**
 * Whether an error, or one of its causes, comes only from a temporary shortage and not from the
 * CLI.
 */
export function isPassingStart(thrown: unknown): boolean {
  return wantOf(thrown) !== undefined;
}

/**
 * How the shortage showed itself: no process was started, which no CLI can cause, or a signal ended
 * a process, which a broken CLI can cause too.
 */
export function wantOf(thrown: unknown): 'not_begun' | 'ended' | undefined {
  for (let error = thrown; error instanceof Error; error = error.cause) {
    const { code, syscall, signal, killed, details } = error as Failure;
    if (syscall?.startsWith('spawn') && codesOfWant.has(code ?? '')) return 'not_begun';
    // A process that berth killed, for its time or its output, did not end because of a shortage.
    if (killed || details?.killed) continue;
    if (signalsOfWant.has(signal ?? details?.signal ?? '')) return 'ended';
  }
  return undefined;
}

/** Fields of errors of the system, of execFile and of a ClaudeProcess. */
interface Failure extends NodeJS.ErrnoException {
  signal?: string | null;
  killed?: boolean;
  details?: { signal?: string | null; killed?: boolean };
}
