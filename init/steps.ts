/** How long each step of a run takes, for its report. */
export class Steps {
  /** Milliseconds by the step's name, in the order in which they ended. */
  readonly times: Record<string, number> = {};

  async run<T>(name: string, action: () => Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await action();
    } finally {
      this.times[name] = Math.round((performance.now() - started) * 10) / 10;
    }
  }
}
