/** Why the system refuses to start a process, in words, with what can be done about it, and whether that passes. */

/** By the code of the system call's error; of others its message says enough. */
const causes: Readonly<Record<string, string>> = {
  EAGAIN:
    'the system lets the container start no further process (EAGAIN); raise its pids limit (podPidsLimit of the kubelet), or see which tool starts so many',
  ENOMEM:
    'there is no memory for another process (ENOMEM); raise resources.limits.memory or lower BERTH_MAX_WORKERS',
  EMFILE: 'too many files are open (EMFILE); raise the nofile limit of the container',
  ENFILE: 'too many files are open on the machine (ENFILE)',
  E2BIG:
    'what it is started with is too long (E2BIG); shorten the lists of tools and the instructions of the profile and of the request',
  ENOENT: 'there is no such program, or its working directory is gone (ENOENT)',
  EACCES: 'it may not be executed (EACCES)',
};

/** Undefined for an error that is not of starting a process. */
export function causeOfStartError(error: unknown): string | undefined {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return syscall?.startsWith('spawn') && code !== undefined ? causes[code] : undefined;
}

/** By which a process ends that gets no memory, or no thread: the kernel's killer, an abort, a trap. */
const signalsOfWant = new Set(['SIGKILL', 'SIGABRT', 'SIGTRAP']);
const codesOfWant = new Set(['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE']);

/** What a process has most likely died of that was ended by one of these signals. */
export function causeOfSignal(signal: string | undefined): string {
  return `was ended by ${signal}, for want of memory or of processes; raise resources.limits.memory, or the pids limit of the container (podPidsLimit of the kubelet)`;
}

/**
 * Whether an error, or one that it was caused by, comes of what is short at the moment alone, and says
 * nothing of the CLI.
 */
export function isPassing(thrown: unknown): boolean {
  return wantOf(thrown) !== undefined;
}

/**
 * How what is short has shown itself: no process was begun, which no CLI brings about, or one was ended by
 * a signal, with which a CLI that is broken may end as well.
 */
export function wantOf(thrown: unknown): 'not_begun' | 'ended' | undefined {
  for (let error = thrown; error instanceof Error; error = error.cause) {
    const { code, syscall, signal, killed, details } = error as Failure;
    if (syscall?.startsWith('spawn') && codesOfWant.has(code ?? '')) return 'not_begun';
    // Whom berth has killed, for its time or for what it wrote, has not ended for want of anything.
    if (killed || details?.killed) continue;
    if (signalsOfWant.has(signal ?? details?.signal ?? '')) return 'ended';
  }
  return undefined;
}

/** What errors of the system, of execFile and of a ClaudeProcess have. */
interface Failure extends NodeJS.ErrnoException {
  signal?: string | null;
  killed?: boolean;
  details?: { signal?: string | null; killed?: boolean };
}
