/** What a CLI does without a prompt: turns of its own (scheduled wake-ups, reports), and background tasks. */
import type { BackgroundTask } from './background.ts';

/** Milliseconds after the end of a background task in which the CLI begins a turn to report it. */
const reportGrace = 10_000;

export class OwnWork {
  /** The background tasks that run. */
  tasks: readonly BackgroundTask[] = [];
  /** Whether a turn runs that has no prompt. */
  inTurn = false;
  /** The time by performance.now() until which the report of an ended task may begin. */
  #reportDue = 0;

  /** Whether there is such work, or a report of it to come. */
  get active(): boolean {
    return this.inTurn || this.tasks.length > 0 || performance.now() < this.#reportDue;
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
