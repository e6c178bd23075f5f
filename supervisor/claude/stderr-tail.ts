/** The last lines of a process's standard error, bounded, for the message that explains its end. */

const mostLines = 20;
const longestLine = 300;

export class StderrTail {
  #lines: string[] = [];
  #partial = '';

  add(chunk: string): void {
    const parts = (this.#partial + chunk).split('\n');
    this.#partial = (parts.pop() ?? '').slice(-longestLine);
    for (const line of parts) {
      if (line.trim()) this.#lines.push(line.slice(0, longestLine));
    }
    this.#lines = this.#lines.slice(-mostLines);
  }

  get text(): string {
    const all = this.#partial.trim() ? [...this.#lines, this.#partial] : this.#lines;
    return all.join('\n').trim();
  }
}
