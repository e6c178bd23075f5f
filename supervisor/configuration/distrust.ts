/**
 * Decides when running processes may have read a wrong configuration: it existed for nearly a
 * second, after which the CLI reads it again, or changes keep coming, one of which a process could
 * read by chance.
 */

/** Milliseconds. The CLI (2.1.330) waits until a file has not changed for a second. */
const longest = 700;
const window = 10_000;
const mostInWindow = 5;

export class Distrust {
  readonly #onDistrust: () => void;
  #recent: number[] = [];
  #late = false;

  constructor(onDistrust: () => void) {
    this.#onDistrust = onDistrust;
  }

  /** @param changed when the reverted file was changed, in milliseconds since 1970 */
  since(changed: number): void {
    if (Date.now() - changed > longest) this.#late = true;
  }

  /** Notes that a check has found changes. */
  changed(): void {
    const now = performance.now();
    this.#recent = [...this.#recent.filter((time) => time > now - window), now];
    if (!this.#late && this.#recent.length < mostInWindow) return;
    this.#late = false;
    this.#recent = [];
    this.#onDistrust();
  }
}
