/**
 * Tracks what a CLI process does without a prompt: turns that the CLI starts itself (scheduled
 * wake-ups, reports of background tasks), and background tasks.
 */
import type { BackgroundTask } from './background.ts';

/** Milliseconds after the end of a background task in which the CLI starts a turn to report the task. */
const reportGrace = 10_000;

export class UnpromptedActivity {
  /** The running background tasks. */
  tasks: readonly BackgroundTask[] = [];
  /** Whether a turn without a prompt runs. */
  inTurn = false;
  /** The time by performance.now() until which the report of an ended task may begin. */
  #reportDue = 0;

  /** Whether there is unprompted activity, or a report of an ended task is due. */
  get active(): boolean {
    return this.reporting || this.tasks.length > 0;
  }

  /** Whether a turn without a prompt runs, or the report of an ended task is to come. */
  get reporting(): boolean {
    return this.inTurn || performance.now() < this.#reportDue;
  }

  turnBegins(): void {
    this.inTurn = true;
  }

  turnEnds(): void {
    this.inTurn = false;
    this.#reportDue = 0;
  }

  tasksChange(tasks: readonly BackgroundTask[]): void {
    if (tasks.length < this.tasks.length) this.#reportDue = performance.now() + reportGrace;
    this.tasks = tasks;
  }
}
