/** The process that a prompt needs: which workers fit, and how a new process is started. */
import type { ClaudeProcess } from '../claude/process.ts';

export interface ProcessSpec {
  /** The name of the profile. Failed starts count for their profile only. */
  profile: string;
  /** Processes with the same key are started with the same flags, and can replace each other. */
  key: string;
  /** The session to continue, which only its own process can serve; undefined begins a session. */
  sessionId: string | undefined;
  /** Whether the process resumes a conversation: the session's own one, or one to copy. */
  resumes: boolean;
  /** Whether the process may serve one turn only: its budget counts over its whole life. */
  once: boolean;
  /**
   * Whether the flags are those of this request only, unlike other processes of the profile. A failed start
   * then says nothing about the profile.
   */
  own: boolean;
  /** Milliseconds without a prompt during which background work keeps the process alive. */
  background?: number;
  /** Whether the process is a shared spare: it learns the rest of its options with its first prompt. */
  shared?: boolean;
  /** The shared spares that can become this process; absent if it must be started with its flags. */
  spare?: SpareUse | undefined;
  /** Starts a process. @throws the error with which the system refuses the start */
  launch: (name: string) => ClaudeProcess;
}

export interface SpareUse {
  /** The key of the shared spares. */
  key: string;
  /** Gives a shared spare the options of the prompt. @throws BerthError if the process does not accept them */
  bind: (process: ClaudeProcess) => Promise<void>;
}

/** How many processes are kept ready for new sessions. */
export interface WarmTarget {
  spec: ProcessSpec;
  count: number;
  /** Kept in free places, and in the place of a session that has been idle for a minute. */
  optional?: boolean;
}
