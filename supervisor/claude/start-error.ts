/** Why the system refuses to start a process, in words, with what can be done about it. */

/** By the code of the system call's error; of others its message says enough. */
const causes: Readonly<Record<string, string>> = {
  EAGAIN:
    'the system lets the container start no further process (EAGAIN); raise its pids limit (podPidsLimit of the kubelet), or see which tool starts so many',
  ENOMEM:
    'there is no memory for another process (ENOMEM); raise resources.limits.memory or lower BERTH_MAX_WORKERS',
  EMFILE: 'too many files are open (EMFILE); raise the nofile limit of the container',
  ENFILE: 'too many files are open on the machine (ENFILE)',
  ENOENT: 'there is no such program, or its working directory is gone (ENOENT)',
  EACCES: 'it may not be executed (EACCES)',
};

/** Undefined for an error that is not of starting a process. */
export function causeOfStartError(error: unknown): string | undefined {
  const { code, syscall } = error as NodeJS.ErrnoException;
  return syscall?.startsWith('spawn') && code !== undefined ? causes[code] : undefined;
}
