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
  /** Starts a process. @throws the error with which the system refuses the start */
  launch: (name: string) => ClaudeProcess;
}

/** How many processes are kept ready for new sessions. */
export interface WarmTarget {
  spec: ProcessSpec;
  count: number;
}
