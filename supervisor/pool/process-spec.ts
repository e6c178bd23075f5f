/** What a prompt asks of the pool: which process may serve it, and how one is started if none is there. */
import type { ClaudeProcess } from '../claude/process.ts';

export interface Order {
  /** Starts of one profile that fail say nothing about those of another. */
  profile: string;
  /** Processes of one key are started alike, and one can stand in for another. */
  key: string;
  /** The session to go on with: served by its own process alone. Absent begins a session. */
  sessionId: string | undefined;
  /** True if the process begins with a conversation, its own or one that it copies. */
  resumes: boolean;
  /** True if the process may serve one turn only: its flags count over its whole life. */
  once: boolean;
  /**
   * True if the process is started as this request alone asks for, unlike others of its profile: that
   * it does not start says nothing about them.
   */
  own: boolean;
  /** Milliseconds without a prompt in which work in the background keeps the process. */
  background?: number;
  /** Starts a process. @throws whatever the system refuses it with */
  launch: (name: string) => ClaudeProcess;
}

/** How many processes are kept ready for new sessions. */
export interface WarmTarget {
  order: Order;
  count: number;
}
